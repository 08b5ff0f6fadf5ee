import functools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soxr
import tensorflow as tf

from asc_tf.audio import resample as graph
from asc_tf.dsp import resampling

# Several groups of phases, one group, up and down; then awkward rates, up and down.
PLAIN = [(44100, 32000), (48000, 44100), (8000, 16000), (96000, 22050)]
AWKWARD = [(11024, 22050), (44101, 44100), (44100, 1009), (1009, 44100)]
PAIRS = [*PLAIN, *AWKWARD[:2]]


@functools.cache
def graph_for(rate_out: int, known_rates: tuple[int, ...] = ()):
    signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int64)]

    @tf.function(input_signature=signature)
    def run(waveform, rate_in):
        return graph.resample(waveform, rate_in, rate_out, known_rates)

    return lambda waveform, rate_in: run(waveform, rate_in).numpy()


def sine(frequency: float, rate: int, samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(samples) / rate).astype(np.float32)


def level(values: np.ndarray) -> float:
    """Decibels relative to a full-scale sine."""
    return 10 * np.log10(2 * np.mean(np.square(values, dtype=np.float64)) + 1e-30)


def interior(values: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Without what the filter reaches at either end, where the clip is taken as 0."""
    edge = int(60 * max(1, rate_out / rate_in))
    return values[edge:-edge]


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_sine_in_the_pass_band_stays_the_same_sine(rate_in, rate_out):
    for share in (0.01, 0.3, 0.7, 0.9):
        frequency = share * min(rate_in, rate_out) / 2
        ours = resampling.resample(
            sine(frequency, rate_in, rate_in // 16), rate_in, rate_out
        )
        error = ours - sine(frequency, rate_out, len(ours))
        assert level(interior(error, rate_in, rate_out)) < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_chirp_through_the_pass_band_is_that_of_soxr(rate_in, rate_out):
    time = np.arange(rate_in // 4) / rate_in
    highest = 0.9 * min(rate_in, rate_out) / 2
    chirp = np.sin(4 * np.pi * highest * time**2).astype(np.float32)
    ours = resampling.resample(chirp, rate_in, rate_out)
    theirs = soxr.resample(chirp, rate_in, rate_out, "VHQ")
    assert abs(len(ours) - len(theirs)) <= 1
    common = min(len(ours), len(theirs))
    error = ours[:common] - theirs[:common]
    assert level(interior(error, rate_in, rate_out)) < -60


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(48000, 16000), (44100, 16000), (44100, 22051)]
)
def test_what_lies_above_the_lower_nyquist_frequency_is_gone(rate_in, rate_out):
    for share in (1.0, 1.1, 1.5, 1.95):
        loud = sine(share * rate_out / 2, rate_in, rate_in // 4)
        alias = resampling.resample(loud, rate_in, rate_out)
        assert level(interior(alias, rate_in, rate_out)) < -60


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [*PLAIN, *AWKWARD, (768_000, 1000), (1000, 384_000)]
)
def test_a_constant_keeps_its_level(rate_in, rate_out):
    samples = max(rate_in // 4, 400)
    ours = resampling.resample(np.ones(samples, np.float32), rate_in, rate_out)
    middle = ours[len(ours) // 3 : 2 * len(ours) // 3]
    np.testing.assert_allclose(middle, 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("rate_in", "rate_out"),
    [(44100, 32000), (8000, 16000), (11024, 22050), (44100, 1009), (1009, 44100)],
)
def test_the_length_is_the_ceiling_and_the_graph_computes_the_same(rate_in, rate_out):
    for samples in (0, 1, 2, 64, 65, 441, 3001, 9000):
        generator = np.random.default_rng(samples)
        waveform = generator.uniform(-1, 1, samples).astype(np.float32)
        ours = resampling.resample(waveform, rate_in, rate_out)
        assert ours.dtype == np.float32
        assert len(ours) == int(np.ceil(samples * rate_out / rate_in))
        assert len(ours) == resampling.count_output_samples(samples, rate_in, rate_out)
        for known_rates in ((), (rate_in,)):
            in_graph = graph_for(rate_out, known_rates)(waveform, rate_in)
            np.testing.assert_allclose(in_graph, ours, atol=1e-5)


def test_one_graph_resamples_from_any_rate():
    """The cut-off differs, the block size, and whether a rate is awkward."""
    resample = graph_for(32000)
    for rate_in in (8000, 22050, 32000, 44101, 48000, 96000, 767_999):
        generator = np.random.default_rng(rate_in)
        waveform = generator.uniform(-1, 1, 9000).astype(np.float32)
        ours = resampling.resample(waveform, rate_in, 32000)
        np.testing.assert_allclose(resample(waveform, rate_in), ours, atol=1e-5)


def test_it_works_eagerly():
    waveform = np.random.default_rng(0).uniform(-1, 1, 2000).astype(np.float32)
    eager = graph.resample(tf.constant(waveform), 48000, 44100)
    ours = resampling.resample(waveform, 48000, 44100)
    np.testing.assert_allclose(eager, ours, atol=1e-5)


def test_a_rate_may_be_known_when_the_graph_is_built_or_not():
    waveform = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    known = (48000, 44100, 11024, 32000, 48000)
    rates = (48000, 44100, 11024, 32000, 22050, 44101)
    outputs = tf.data.Dataset.from_tensor_slices(list(rates)).map(
        lambda rate: graph.resample(waveform, rate, 32000, known)
    )
    for rate_in, output in zip(rates, outputs, strict=True):
        ours = resampling.resample(waveform, rate_in, 32000)
        np.testing.assert_allclose(output, ours, atol=1e-5)


def gathered_by(rate_in) -> bool:
    """Whether a graph for this rate looks its kernel up when it runs."""
    run = tf.function(
        lambda waveform: graph.resample(waveform, rate_in, 32000),
        input_signature=[tf.TensorSpec([None], tf.float32)],
    )
    definition = run.get_concrete_function().graph.as_graph_def()
    parts = [definition.node, *(part.node_def for part in definition.library.function)]
    return any(node.op.startswith("Gather") for part in parts for node in part)


def test_the_kernel_of_a_known_rate_is_a_constant_of_the_graph():
    assert not gathered_by(44100)
    assert not gathered_by(np.int64(48000))
    assert gathered_by(tf.Variable(44100, dtype=tf.int64))


def test_only_so_many_known_rates_become_constants(monkeypatch):
    many = [*range(44000, 44100), 32000, 48000]
    chosen = graph.choose_constant_rates(many, 32000)
    assert 5 < len(chosen) < 100
    assert {32000, 48000} < set(chosen)
    monkeypatch.setattr(graph, "MAX_CONSTANT_VALUES", 0)
    assert graph.choose_constant_rates(many, 32000) == [32000]


@pytest.mark.parametrize("values", [1, 9_000])
def test_how_much_is_computed_at_a_time_does_not_matter(monkeypatch, values):
    waveform = np.random.default_rng(0).uniform(-1, 1, 900).astype(np.float32)
    expected = resampling.resample(waveform, 11024, 22050)
    monkeypatch.setattr(resampling, "MAX_WORKING_VALUES", values)
    ours = resampling.resample(waveform, 11024, 22050)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    for rate_in in (11024, tf.Variable(11024)):
        in_graph = graph.resample(tf.constant(waveform), rate_in, 22050)
        np.testing.assert_allclose(in_graph, expected, atol=1e-5)


@pytest.mark.parametrize(("rate_in", "rate_out"), AWKWARD)
def test_awkward_rates_are_interpolated_as_finely_as_the_filter_is_kept(
    rate_in, rate_out
):
    waveform = np.random.default_rng(0).uniform(-1, 1, 3000).astype(np.float32)
    rates = resampling.plan(rate_in, rate_out)
    ours = resampling.resample(waveform, rate_in, rate_out)
    outputs = np.arange(len(ours)) * rates.down / rates.up
    exact = [
        waveform[near]
        @ resampling.compute_weights(near, np.array([output]), rates.scale)
        for output in outputs[:: max(len(outputs) // 500, 1)]
        for near in [np.flatnonzero(abs(np.arange(3000) - output) <= rates.half)]
    ]
    exact = np.concatenate(exact)
    assert level(ours[:: max(len(outputs) // 500, 1)] - exact) < -90


def test_equal_rates_change_nothing():
    waveform = np.random.default_rng(0).uniform(-1, 1, 999).astype(np.float32)
    for rate in (1000, 44100, 44101):
        ours = resampling.resample(waveform, rate, rate)
        np.testing.assert_array_equal(ours, waveform)
    np.testing.assert_array_equal(graph_for(32000)(waveform, 32000), waveform)
    known = graph.resample(tf.constant(waveform), 44101, 44101)
    np.testing.assert_array_equal(known, waveform)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 16000), (16000, 44101)])
def test_an_impulse_comes_back_at_its_time(rate_in, rate_out):
    waveform = np.zeros(rate_in // 10, np.float32)
    waveform[rate_in // 20] = 1.0
    ours = resampling.resample(waveform, rate_in, rate_out)
    assert abs(np.argmax(ours) / rate_out - 0.05) <= 0.5 / min(rate_in, rate_out)


def test_a_kernel_is_never_above_four_megabytes():
    rates = sorted({rate for pair in (*PAIRS, *AWKWARD) for rate in pair})
    plain = 0
    for rate_in in (*rates, 192_000, 384_000, 767_999, 768_000):
        for rate_out in (*rates, 384_000):
            plan = resampling.plan(rate_in, rate_out)
            if plan.is_awkward:
                assert resampling.make_interpolation(plan).kernels.nbytes <= 4 * 2**20
            elif rate_in != rate_out:
                products = resampling.make_products(plan)
                assert sum(part.kernel.nbytes for part in products) <= 4 * 2**20
                plain += 1
    assert plain > 50
    assert all(resampling.plan(*pair).is_awkward for pair in AWKWARD)


def test_memory_is_bounded_for_a_huge_awkward_rate():
    waveform = np.zeros(200_000, np.float32)
    resampling.resample(waveform[:10], 767_999, 16000)
    tracemalloc.start()
    resampling.resample(waveform, 767_999, 16000)
    assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    tracemalloc.stop()


def test_memory_goes_by_the_samples_that_are_there_not_by_the_rate():
    tracemalloc.start()
    ours = resampling.resample(np.ones(10, np.float32), 100_000_007, 16000)
    assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    tracemalloc.stop()
    assert len(ours) == 1


@pytest.mark.parametrize(("rate_in", "rate_out"), [(11024, 22050), (44100, 32000)])
def test_a_long_clip_takes_little_more_memory_than_it_is_large(rate_in, rate_out):
    waveform = np.zeros(60 * rate_in, np.float32)
    resampling.resample(waveform[:10], rate_in, rate_out)
    tracemalloc.start()
    ours = resampling.resample(waveform, rate_in, rate_out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * (waveform.nbytes + ours.nbytes) + 64 * 2**20


def peak_memory() -> int:
    """Highest resident size of this process since it was last reset, bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak_memory() -> int:
    """Let the peak begin anew; the size that it begins with, bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of memory cannot be reset on this system")
    return peak_memory()


def test_memory_is_bounded_in_the_graph_too():
    resample = graph_for(16000)
    resample(np.zeros(10, np.float32), 767_999)
    before = reset_peak_memory()
    resample(np.zeros(200_000, np.float32), 767_999)
    resample(np.ones(10, np.float32), 100_000_007)
    assert peak_memory() - before < 200 * 2**20


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize(("rate_in", "rate_out"), [(11024, 22050), (44100, 32000)])
def test_a_long_clip_takes_little_more_memory_in_the_graph_too(
    rate_in, rate_out, is_known
):
    resample = graph_for(rate_out, (rate_in,) if is_known else ())
    resample(np.zeros(10, np.float32), rate_in)
    waveform = np.zeros(60 * rate_in, np.float32)
    before = reset_peak_memory()
    ours = resample(waveform, rate_in)
    bound = 3 * (waveform.nbytes + ours.nbytes) + 64 * 2**20
    assert peak_memory() - before < bound


@pytest.mark.parametrize("rates", [(48_000, 32_000), (8000, 44_100), (11_024, 22_050)])
def test_a_clip_of_many_batches_is_resampled_as_one_batch(rates, monkeypatch):
    waveform = np.random.default_rng(0).uniform(-1, 1, 9_001).astype(np.float32)
    monkeypatch.setattr(resampling, "MAX_WORKING_VALUES", 2**30)
    whole = resampling.resample(waveform, *rates)
    monkeypatch.setattr(resampling, "MAX_WORKING_VALUES", 1000)
    resampler = resampling.Resampler(*rates)
    parts = [resampler.push(part) for part in np.array_split(waveform, 7)]
    found = np.concatenate([*parts, resampler.finish()])
    np.testing.assert_allclose(found, whole, rtol=0, atol=4e-6)
