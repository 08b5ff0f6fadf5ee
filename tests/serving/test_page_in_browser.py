"""The page in a real browser, on a real model: pictures, labels, keyboard, errors."""

import contextlib
import csv
import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import tiny
from browsers import NEEDS_BROWSER, api, launch
from colours import compute_contrast
from servers import FakeBackend, run_server

import asc_tf
from asc_tf.config import Frontend
from asc_tf.dsp import segments
from asc_tf.serving.settings import Settings
from asc_tf.serving.versions import find_candidate, load_backend

pytestmark = NEEDS_BROWSER

PREDICT = "**/v1/models/asc:predict"
INSECURE = "scenes.test"
"""A name for this computer that browsers do not take for this computer."""

ELSEWHERE = f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1"


def wait_for(page, expression: str, seconds: float = 120) -> None:
    """Wait until an expression holds; the page's policy forbids playwright's way."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression}: {read_messages(page)}"
        time.sleep(0.03)


def read_messages(page) -> str:
    return page.evaluate(
        "['problem-text', 'status'].map(id => "
        "document.getElementById(id).textContent).join(' | ')"
    )


def is_shown(name: str) -> str:
    return f"!document.getElementById('{name}').hidden"


def wait_for_result(page) -> None:
    wait_for(page, f"{is_shown('answer')} && !({is_shown('work')})")


def wait_for_problem(page) -> str:
    wait_for(page, is_shown("problem"))
    return page.inner_text("#problem-text")


def read_rows(page) -> dict[str, str]:
    """The table of the whole sound: probability by label, as they are shown."""
    rows = page.locator("#rows tr").all()
    return {
        row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows
    }


def count_colours(page, selector: str) -> int:
    """Count the colours of a canvas."""
    return page.evaluate(
        """(selector) => {
          const canvas = document.querySelector(selector);
          const box = [0, 0, canvas.width, canvas.height];
          const pixels = new Uint32Array(
            canvas.getContext("2d").getImageData(...box).data.buffer);
          return new Set(pixels).size;
        }""",
        selector,
    )


def write_sound(folder, labels, seconds=0.5, rate=tiny.RATE, name="scene.wav"):
    """Write a sound in which the labels follow each other."""
    clips = [tiny.clip(label, 90 + n, seconds) for n, label in enumerate(labels)]
    soundfile.write(folder / name, np.concatenate(clips), rate)
    return folder / name


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        launched = launch(playwright, ELSEWHERE)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def model(tiny_export):
    settings = Settings(tiny_export, workers=1)
    candidate = find_candidate(settings.model)
    return load_backend(candidate, 1, settings)


@contextlib.contextmanager
def run_model(model, **settings):
    # One page is opened under another name.
    with run_server(host="0.0.0.0", **settings) as running:
        fake, running.versions.current = running.versions.current, model
        try:
            yield running
        finally:
            running.versions.current = fake


@pytest.fixture(scope="module")
def server(model):
    with run_model(model, timeout=120.0) as running:
        yield running


@pytest.fixture
def visit(browser, server):
    """A function that opens the page; errors and foreign requests fail the test."""
    contexts, wrong = [], []

    def open_page(running=server, width=1280, host="127.0.0.1", expected="", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 844}, **options
        )
        context.set_default_timeout(120_000)
        contexts.append(context)
        opened = context.new_page()
        address = f"http://{host}:{running.port}"

        def check_request(request):
            if not request.url.startswith((address, f"blob:{address}")):
                wrong.append(request.url)

        def check_message(message):
            if not expected or not re.search(expected, message.text):
                wrong.append(message.text)

        opened.on("request", check_request)
        opened.on("console", check_message)
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.goto(address)
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def wait_for_model(page):
    wait_for(page, "!document.getElementById('file').disabled")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_file_becomes_pictures_and_the_label_of_predict(
    visit, tiny_run, tmp_path, scheme
):
    path = write_sound(tmp_path, ("hum", "hum", "whistle"), 0.7)
    waveform = soundfile.read(path, dtype="float32")[0]
    wanted = asc_tf.load(tiny_run.path).predict(waveform, tiny.RATE)
    page = wait_for_model(visit(color_scheme=scheme))
    page.set_input_files("#file", path)
    wait_for_result(page)
    assert page.inner_text("#label") == tiny.LABELS[wanted.argmax()]
    shown = read_rows(page)
    for label, value in zip(tiny.LABELS, wanted, strict=True):
        number = float(shown[label].strip("< %"))
        assert number == pytest.approx(100 * value, abs=0.6)
    assert count_colours(page, "#waveform") > 1
    assert count_colours(page, "#spectrogram") > 30
    for row in page.locator("#scenes canvas").all():
        assert row.bounding_box()["width"] > 500
    assert count_colours(page, "#scenes canvas") > 2
    for width in (320, 390, 1280, 2000):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The picture follows after the layout.
        wait_for(
            page,
            "(c => Math.abs(c.width - c.clientWidth * devicePixelRatio) <= 1)"
            "(document.getElementById('waveform'))",
        )


def test_the_csv_file_has_the_segments_of_the_model(visit, model, tmp_path):
    path = write_sound(tmp_path, ("hiss", "hum", "whistle"), 0.5)
    page = wait_for_model(visit())
    page.set_input_files("#file", path)
    wait_for_result(page)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "scene.csv"
    text = download.value.path().read_bytes().decode()
    assert text.startswith("start,end,hiss,hum,whistle\r\n") and text.endswith("\r\n")
    found = np.array(list(csv.reader(io.StringIO(text, newline="")))[1:], float)
    contents = np.array([path.read_bytes()], object)
    wanted = model.run("encoded_segments", {"encoded": contents})
    np.testing.assert_allclose(found[:, 0], wanted["start"][0], atol=1e-3)
    np.testing.assert_allclose(found[:, 1], wanted["end"][0], atol=1e-3)
    np.testing.assert_allclose(found[:, 2:], wanted["probabilities"][0], atol=1e-5)
    page.click("#segments summary")
    tops = page.locator("#segment-rows td:nth-child(3)").all_inner_texts()
    assert tops == [tiny.LABELS[row.argmax()] for row in found[:, 2:]]


def test_the_drawn_log_mel_is_that_of_the_front_end(visit):
    import tensorflow as tf

    from asc_tf.frontend.spectrum import make_spectrum

    waveform = tiny.clip("hum", 3, 0.4) + tiny.clip("whistle", 4, 0.4)
    cases = (
        {"n_fft": 256, "hop_length": 100, "n_mels": 24},
        {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40}
        | {"mel_scale": "htk", "mel_norm": "none", "window": "hamming"}
        | {"fmin": 50.0, "fmax": 3000.0},
    )
    page = visit()
    for case in cases:
        spectrum = make_spectrum(Frontend(**case), tiny.RATE)
        power = spectrum(tf.constant(waveform[np.newaxis]), False)[0].numpy()
        wanted = 10 * np.log10(np.maximum(power, 1e-10))
        wanted = np.maximum(wanted - wanted.max(), -80)
        found = page.evaluate(
            """async ([samples, rate, frontend]) => {
              const { chooseSettings, computeSpectrogram } =
                await import("/page/spectrogram.js");
              const settings = chooseSettings(frontend, rate);
              const made = await computeSpectrogram(
                Float32Array.from(samples), rate, settings);
              return { ...made, values: [...made.values] };
            }""",
            [waveform.tolist(), tiny.RATE, case],
        )
        values = np.reshape(found["values"], (found["frames"], found["bands"]))
        np.testing.assert_allclose(values, wanted, atol=0.02)


def test_segments_pieces_and_pooling_are_those_of_the_package(visit):
    generator = np.random.default_rng(0)
    cases = []
    for number in range(300):
        length, hop = generator.integers(50, 400), generator.integers(20, 400)
        rate = int(generator.choice([1000, 1500, 441, 2205]))
        samples, longest = generator.integers(1, 5000), generator.integers(1, 3000)
        audio = {"sample_rate": 1000, "segment_samples": int(length)}
        audio |= {
            "hop_samples": int(hop),
            "last_segment": ["align", "drop"][number % 2],
        }
        cases.append([int(samples), rate, audio, int(longest)])
    found = visit().evaluate(
        """async (cases) => {
          const { findStarts, cutPieces } = await import("/page/sound.js");
          return cases.map(([samples, rate, audio, longest]) => [
            findStarts(Math.ceil(samples * 1000 / rate), audio),
            cutPieces(samples, rate, audio, longest)]);
        }""",
        cases,
    )
    for (samples, rate, audio, _), (starts, pieces) in zip(cases, found, strict=True):
        total = -(-samples * 1000 // rate)
        settings = (audio["segment_samples"], audio["hop_samples"])
        wanted = segments.find_starts(total, *settings, "all", audio["last_segment"])
        assert starts == wanted.tolist()
        rows = []
        for piece in pieces:
            assert 0 <= piece["start"] < piece["end"] <= samples
            received = -(-(piece["end"] - piece["start"]) * 1000 // rate)
            own = segments.find_starts(
                received, *settings, "all", audio["last_segment"]
            )
            own = own[: piece["count"]]
            rows += [round(1000 * piece["seconds"]) + int(start) for start in own]
        assert len(rows) == len(starts)
        # A piece begins at a sample of the sound, which has a rate of its own.
        np.testing.assert_allclose(rows, starts, atol=1000 / rate + 1)
    for pooling in ("mean", "mean_log", "majority"):
        for rows in (generator.dirichlet(np.ones(4), n) for n in (1, 2, 7)):
            pooled = visit().evaluate(
                "async ([rows, pooling]) => "
                "(await import('/page/sound.js')).pool(rows, pooling)",
                [rows.tolist(), pooling],
            )
            ids = np.zeros(len(rows), int)
            wanted = segments.pool(rows, ids, 1, pooling)[0]
            np.testing.assert_allclose(pooled, wanted, atol=1e-9)


def test_a_long_sound_is_sent_in_pieces_with_the_same_answer(
    visit, model, tiny_run, tmp_path
):
    # At a rate of its own: the pieces are resampled by the server.
    path = write_sound(tmp_path, tiny.LABELS * 3, 0.7, 11025, "long.flac")
    waveform = soundfile.read(path, dtype="float32")[0]
    wanted = asc_tf.load(tiny_run.path).predict(waveform, 11025)
    with run_model(model, timeout=120.0, max_request_mb=0.06) as small:
        page = wait_for_model(visit(small))
        page.set_input_files("#file", path)
        wait_for_result(page)
        assert "sent in pieces" in page.inner_text("#facts")
        with page.expect_download() as download:
            page.click("#download")
    text = download.value.path().read_text()
    found = np.array(list(csv.reader(io.StringIO(text)))[1:], float)
    assert (np.diff(found[:, 0]) > 0).all()
    assert found[-1, 1] == pytest.approx(len(waveform) / 11025, abs=1e-3)
    np.testing.assert_allclose(found[:, 2:].mean(axis=0), wanted, atol=2e-3)


def test_the_keyboard_alone_does_everything(visit, tmp_path):
    path = write_sound(tmp_path, tiny.LABELS, 1.0)
    page, choosers = wait_for_model(visit()), []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def tab_to(name):
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        pytest.fail(f"Tab does not reach {name}")

    tab_to("file")
    outline = "getComputedStyle(document.querySelector('label[for=file]')).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.wait_for_timeout(200)
    page.keyboard.press("Space")
    deadline = time.monotonic() + 60
    while not choosers:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)
    choosers[0].set_files(path)
    wait_for_result(page)
    assert page.get_attribute("#status", "role") == "status"
    assert page.text_content("#status").startswith(
        f"scene.wav: {page.inner_text('#label')}"
    )
    tab_to("play")
    page.keyboard.press("Space")
    wait_for(page, "document.getElementById('audio').currentTime > 0.05")
    page.keyboard.press("Space")
    assert page.evaluate("document.getElementById('audio').paused")
    tab_to("seek")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#seek", "aria-valuenow") == "0.1"
    page.keyboard.press("PageUp")
    text = page.get_attribute("#seek", "aria-valuetext")
    assert re.fullmatch(r"0\.7 of 3\.0 seconds, \w+ [\d.]+ %", text)
    page.keyboard.press("End")
    assert page.get_attribute("#seek", "aria-valuenow") == "3.0"
    left = page.evaluate("document.getElementById('playhead').style.left")
    assert left == "100%"
    tab_to("download")
    with page.expect_download():
        page.keyboard.press("Enter")


def test_a_click_on_the_pictures_seeks(visit, tmp_path):
    page = wait_for_model(visit())
    page.set_input_files("#file", write_sound(tmp_path, tiny.LABELS, 1.0))
    wait_for_result(page)
    box = page.locator("#seek").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    wait_for(page, "!document.getElementById('audio').seeking")
    assert page.evaluate(
        "document.getElementById('audio').currentTime"
    ) == pytest.approx(2.25, abs=0.05)
    assert page.inner_text("#clock") in ("0:02.2", "0:02.3")


def test_every_control_has_a_name_and_every_picture_a_description(visit, tmp_path):
    page = wait_for_model(visit())
    page.set_input_files("#file", write_sound(tmp_path, ("hum",), 1.0))
    wait_for_result(page)
    tree = page.locator("main").aria_snapshot()
    for line in (
        'button "Choose a sound file"',
        'button "Record"',
        'button "Play"',
        'slider "Position"',
        'table "Probabilities of the whole sound"',
        'columnheader "probability"',
        'rowheader "hum"',
        'button "Download CSV"',
        'img "Waveform; the highest peak',
        'img "Log-mel spectrogram',
        "status:",
    ):
        assert line in tree, line
    assert page.locator("html").get_attribute("lang") == "en"


def test_the_text_in_every_cell_has_the_contrast_of_wcag_aa(visit):
    for scheme, page_colour, cell in (
        ("light", "#f5f7f9", (0, 114, 178)),
        ("dark", "#12161b", (86, 180, 233)),
    ):
        page = visit(color_scheme=scheme)
        behind = [int(page_colour[n : n + 2], 16) for n in (1, 3, 5)]
        for value in np.linspace(0.01, 1, 34):
            text = page.evaluate(
                "async (value) => "
                "(await import('/page/pictures.js')).chooseTextColour(value)",
                float(value),
            )
            mixed = [
                value * c + (1 - value) * b for c, b in zip(cell, behind, strict=True)
            ]
            colour = "#" + "".join(f"{round(part):02x}" for part in mixed)
            assert compute_contrast(text, colour) >= 4.45, (scheme, value)


def drop(page, contents: bytes, name: str) -> None:
    page.evaluate(
        """([bytes, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(bytes)], name));
          for (const type of ["dragover", "drop"]) {
            const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
            document.body.dispatchEvent(new DragEvent(type, options));
          }
        }""",
        [list(contents), name],
    )


def test_a_dropped_file_is_classified_and_a_bad_one_explained(visit, tmp_path):
    page = wait_for_model(visit(expected="status of 400"))
    drop(page, write_sound(tmp_path, ("whistle",)).read_bytes(), "dropped.wav")
    wait_for_result(page)
    assert page.inner_text("#label") == "whistle"
    assert page.inner_text("#result-title") == "dropped.wav"
    drop(page, b"no sound " * 99, "letter.mp3")
    assert "finds no sound in letter.mp3" in wait_for_problem(page)
    assert not page.is_visible("#answer")
    drop(page, b"", "nothing.wav")
    wait_for(page, "document.body.textContent.includes('nothing.wav is empty')")
    # The server reads more kinds of WAV than a browser, and says what is wrong.
    drop(page, b"RIFF\x20\0\0\0WAVEjunk" + bytes(90), "broken.wav")
    wait_for(page, "document.body.textContent.includes('cannot classify this sound')")
    drop(page, write_sound(tmp_path, ("hum",)).read_bytes(), "good.wav")
    wait_for_result(page)
    assert page.inner_text("#label") == "hum" and not page.is_visible("#problem")


def test_a_wav_file_that_only_the_server_can_decode_has_a_label_without_pictures(
    visit, tmp_path
):
    path = write_sound(tmp_path, ("hum", "hum"))
    page = wait_for_model(visit())
    page.evaluate(
        """() => {
          const { prototype } = OfflineAudioContext;
          prototype.decodeAudioData = async () => { throw Error(); };
        }"""
    )
    drop(page, path.read_bytes(), "odd.wav")
    wait_for_result(page)
    assert page.inner_text("#label") == "hum"
    assert "neither drawn nor played" in page.inner_text("#facts")
    assert not page.is_visible("#waveform") and not page.is_visible("#play")
    assert page.locator("#scenes canvas").first.is_visible()


def test_a_busy_server_is_asked_again_after_the_time_that_it_says(visit, tmp_path):
    page, refused = wait_for_model(visit(expected="429|503")), []

    def answer(route):
        if len(refused) < 2:
            refused.append(time.monotonic())
            status = (429, 503)[len(refused) - 1]
            route.fulfill(status=status, headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    page.route(PREDICT, answer)
    page.set_input_files("#file", write_sound(tmp_path, ("hiss",)))
    wait_for(page, "document.body.textContent.includes('tries again in 1 second.')")
    wait_for_result(page)
    assert page.inner_text("#label") == "hiss"
    assert refused[1] - refused[0] >= 0.9


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            400,
            {"error": "row 0: no samples"},
            "cannot classify this sound: no samples.",
        ),
        (404, {"error": "x"}, "Reload the page"),
        (413, {"error": "x"}, "larger than this server accepts"),
        (500, {"error": "x"}, "which is in its log"),
        (502, "<h1>proxy</h1>", "status 502"),
        (504, {"error": "x"}, "needed longer"),
    ],
)
def test_an_error_of_the_server_is_a_sentence_and_can_be_tried_again(
    visit, tmp_path, status, body, sentence
):
    page, asked = wait_for_model(visit(expected=str(status))), []

    def answer(route):
        asked.append(route)
        text = body if isinstance(body, str) else json.dumps(body)
        route.fulfill(status=status, body=text)

    page.route(PREDICT, answer)
    page.set_input_files("#file", write_sound(tmp_path, ("hiss",), name="a.ogg"))
    assert sentence in wait_for_problem(page)
    assert len(asked) == 1
    page.unroute(PREDICT)
    page.click("#retry")
    wait_for_result(page)
    assert page.inner_text("#label") == "hiss" and not page.is_visible("#problem")


def test_a_lost_connection_is_explained_and_a_wait_can_be_cancelled(visit, tmp_path):
    page = wait_for_model(visit(expected="ERR_FAILED|429"))
    page.route(PREDICT, lambda route: route.abort())
    path = write_sound(tmp_path, ("hiss",))
    page.set_input_files("#file", path)
    assert "The server cannot be reached." in wait_for_problem(page)
    page.unroute(PREDICT)
    wait = {"status": 429, "headers": {"Retry-After": "30"}, "body": "{}"}
    page.route(PREDICT, lambda route: route.fulfill(**wait))
    page.click("#retry")
    wait_for(page, "document.body.textContent.includes('in 30 seconds')")
    page.click("#cancel")
    wait_for(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert not page.is_visible("#work") and not page.is_visible("#problem")


def test_a_page_without_a_server_waits_for_one(visit):
    page = visit(expected="ERR_FAILED")
    page.route("**/page/model.json", lambda route: route.abort())
    page.reload()
    assert "cannot be reached" in wait_for_problem(page)
    assert page.is_disabled("#file") and page.is_disabled("#record")
    page.unroute("**/page/model.json")
    page.click("#retry")
    wait_for_model(page)


def test_the_token_is_asked_for_only_where_there_is_one(visit, tmp_path):
    assert not wait_for_model(visit()).is_visible("#token")
    with run_server(token="secret") as guarded:
        page = visit(guarded, expected="401")
        wait_for(page, is_shown("token-form"))
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        wait_for(page, "document.body.textContent.includes('does not know this token')")
        page.keyboard.type("secret")
        page.keyboard.press("Enter")
        wait_for_model(page)
        assert not page.is_visible("#token")
        page.set_input_files("#file", write_sound(tmp_path, ("hiss",)))
        wait_for_result(page)
        kept = (
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        )
        assert page.evaluate(kept) == '[{},{},""]'
        assert page.input_value("#token") == ""


def test_a_model_without_segments_has_one_answer_for_the_whole_sound(visit, tmp_path):
    with run_server() as plain:
        page = wait_for_model(visit(plain))
        page.set_input_files("#file", write_sound(tmp_path, ("hiss", "hum")))
        wait_for_result(page)
        assert "1 segment" in page.inner_text("#facts")
        assert page.inner_text("#probability") == "88 %"
        assert not page.is_visible("#course")


class ManyLabels(FakeBackend):
    """Model of 50 labels, some of which would run or break something."""

    def __init__(self) -> None:
        super().__init__()
        awkward = ("=1+1", "<b>bold</b>", 'say "hi", you', "שלום", "x" * 200)
        self.labels = (*awkward, *(f"label {n}" for n in range(45)))

    def run(self, signature, inputs, *given):
        (values,) = inputs.values()
        row = np.arange(50, 0, -1, dtype=np.float32) ** 2
        found = super().run(signature, inputs, *given)
        return found | {"probabilities": np.stack([row / row.sum()] * len(values))}


def test_fifty_labels_are_eight_rows_and_a_rest_and_no_label_is_run(visit, tmp_path):
    with run_model(ManyLabels()) as running:
        page = wait_for_model(visit(running, 320))
        page.set_input_files("#file", write_sound(tmp_path, ("hiss",)))
        wait_for_result(page)
        names = page.locator("#scenes .name").all_inner_texts()
        assert len(names) == 9 and names[-1] == "42 others"
        assert page.locator("#rows tr").count() == 8
        page.click("#more")
        assert page.locator("#rows tr").count() == 50
        assert page.get_attribute("#more", "aria-expanded") == "true"
        assert page.locator("main b").get_by_text("bold").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        with page.expect_download() as download:
            page.click("#download")
    text = download.value.path().read_bytes().decode()
    head = next(csv.reader(io.StringIO(text, newline="")))
    assert head[2:6] == ["'=1+1", "<b>bold</b>", 'say "hi", you', "שלום"]
    assert len(head) == 52


def launch_with_microphone(playwright, sound, *flags):
    device = "--use-fake-device-for-media-stream"
    source = f"--use-file-for-fake-audio-capture={sound}"
    return launch(playwright, device, source, *flags, ELSEWHERE)


@pytest.fixture(scope="module")
def recorded(server, tmp_path_factory):
    """What the page says of a recording of a whistle, and where it is refused.

    Playwright has one browser in a thread.
    """
    folder = tmp_path_factory.mktemp("microphone")
    sound = np.concatenate([tiny.clip("whistle", n, 1.0) for n in range(8)])
    soundfile.write(folder / "microphone.wav", np.repeat(sound, 6), 48000)

    def record():
        found = {}
        with api.sync_playwright() as playwright:
            allowing = launch_with_microphone(
                playwright, folder / "microphone.wav", "--use-fake-ui-for-media-stream"
            )
            page = allowing.new_page()
            page.goto(server.url)
            wait_for_model(page)
            page.click("#record")
            wait_for(page, is_shown("recorder"))
            wait_for(page, "document.getElementById('recorded').textContent >= '0:03'")
            found["level"] = page.evaluate("document.getElementById('level').value")
            found["focus"] = page.evaluate("document.activeElement.id")
            page.keyboard.press("Enter")
            wait_for_result(page)
            found["label"] = page.inner_text("#label")
            found["facts"] = page.inner_text("#facts")
            found["name"] = page.inner_text("#result-title")
            page.click("#record")
            wait_for(page, is_shown("recorder"))
            page.click("#discard")
            found["discarded"] = page.inner_text("#status")
            page.goto(server.url.replace("127.0.0.1", INSECURE))
            wait_for_model(page)
            page.click("#record")
            found["insecure"] = wait_for_problem(page)
            allowing.close()
            refusing = launch_with_microphone(
                playwright, "", "--deny-permission-prompts"
            )
            page = refusing.new_page()
            page.goto(server.url)
            wait_for_model(page)
            page.click("#record")
            found["refused"] = wait_for_problem(page)
            found["enabled"] = page.is_enabled("#record") and page.is_enabled("#file")
            refusing.close()
        return found

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(record).result()


def test_a_recording_is_classified_with_its_own_sample_rate(recorded):
    assert recorded["label"] == "whistle"
    assert recorded["name"] == "recording.wav"
    seconds = float(re.match(r"([\d.]+) s · [\d.]+ kHz · mono", recorded["facts"])[1])
    assert 3 <= seconds < 60
    assert -30 < recorded["level"] <= 0
    assert recorded["focus"] == "stop"
    assert recorded["discarded"] == "The recording was discarded."


def test_a_refused_microphone_and_an_insecure_page_are_explained(recorded):
    assert "may not use the microphone" in recorded["refused"]
    assert recorded["enabled"]
    assert "https" in recorded["insecure"] and "choose a file" in recorded["insecure"]
