"""Lines of code that run the files of an export, for export.html."""

import json
from collections.abc import Mapping
from typing import Any

READ = """\
with wave.open({clip}) as wav:
    rate, width, channels = wav.getframerate(), wav.getsampwidth(), wav.getnchannels()
    content = wav.readframes(wav.getnframes())
if (rate, width) != ({rate}, 2):
    sys.exit(f"{{rate}} Hz with {{8 * width}} bits; give 16 bits at the model's rate")
samples = np.frombuffer(content, "<i2").reshape(-1, channels).astype(np.float32) / 32768
waveform = {select}
"""
"""Code that reads a WAV file by the standard library and NumPy."""

SELECT = {
    "mono": "samples.mean(axis=1)",
    "left": "samples[:, 0]",
    "right": "samples[:, :2][:, -1]",
    "stereo": "samples[:, :2][:, [0, -1]]",
    "mid_side": "samples[:, :2][:, [0, -1]] @ np.float32([[0.5, 0.5], [0.5, -0.5]])",
    "split": "samples.mean(axis=1)  # asc-edge also classifies each channel apart",
}
"""The channels of the model's input by `audio.channels`."""

STARTS = {
    "align": "[*range(0, last, hop), last]",
    "drop": "range(0, last + 1, hop)",
    "centre": "[last // 2]",
}
"""First samples of the segments by `audio.last_segment`, or for the centre alone."""

FILL = {
    "pad": "np.pad(part, [(0, length - len(part))] + [(0, 0)] * (part.ndim - 1))",
    "loop": "part[np.arange(length) % len(part)]",
}
"""A segment, which a short clip does not fill, by `audio.short_clips`."""

POOL = {
    "mean": "",
    "mean_log": """\
powers = np.exp(np.log(np.maximum(answers, 1e-12)).mean(axis=0))
probabilities = powers / powers.sum()
""",
    "majority": """\
votes = np.eye(len(probabilities))[np.argmax(answers, axis=1)]
if len(answers) > 1:
    probabilities = (votes.sum(axis=0) + probabilities) / (len(answers) + 1)
""",
}
"""Code that pools the segments, after their mean, by `evaluate.pooling`."""

CLASSIFY = """\
length, hop = about["segment_samples"], about["hop_samples"]
last, answers = max(len(waveform) - length, 0), []
for start in {starts}:
    part = waveform[start : start + length]
    segment = {fill}
    answers.append(classify(waveform=segment[np.newaxis])["probabilities"][0])
probabilities = np.mean(answers, axis=0)
{pool}"""
"""Code that classifies the segments of a waveform and pools their probabilities."""

PYTHON = """\
# Save this as classify.py, and give it any of the files:
{commands}
import json
import sys
import wave
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter

path, clip = sys.argv[1:]
about = json.loads(zipfile.ZipFile(path).read("model.json"))
interpreter = Interpreter(model_path=path)
classify = interpreter.get_signature_runner("serving_default")
{read}
{classify}print(about["labels"][int(probabilities.argmax())], probabilities.max())
"""
"""Code that needs NumPy and ai-edge-litert only."""

TENSORFLOW = """\
import sys
import wave

import numpy as np
import tensorflow as tf

model = tf.saved_model.load({path})
classify = model.signatures["serving_default"]
{read}
answer = classify(waveform=tf.constant(waveform[np.newaxis]))
print(answer["label"].numpy()[0].decode(), answer["probabilities"].numpy().max())
"""

ASC_TF = """\
import asc_tf

{lines}"""


def write_classification(metadata: Mapping[str, Any]) -> str:
    """Write code that makes `probabilities` of `waveform` by `classify`, `about`."""
    is_centre = metadata.get("segments") == "centre"
    starts = "centre" if is_centre else metadata.get("last_segment", "align")
    return CLASSIFY.format(
        starts=STARTS[starts],
        fill=FILL[metadata.get("short_clips", "pad")],
        pool=POOL[metadata.get("pooling", "mean")],
    )


def list_code(
    files: Mapping[str, str], metadata: Mapping[str, Any]
) -> list[dict[str, str]]:
    """List the ways to run the files of an export.

    Args:
        files: Path of the file of each format in the export folder.
        metadata: Content of model.json; empty: not known.

    Returns:
        `title` and `code` of each way, for the folder of the export.
    """
    edge = [path for name, path in files.items() if name != "saved_model"]
    select = SELECT[metadata.get("channels", "mono")]
    ways = []
    if edge:
        lines = [f"asc-edge classify --model={path} clip.wav\n" for path in edge]
        ways.append(("On a Raspberry Pi, without TensorFlow", "".join(lines)))
        read = READ.format(clip="clip", rate='about["sample_rate"]', select=select)
        classify = write_classification(metadata)
        lines = [f"#     python classify.py {path} clip.wav\n" for path in edge]
        code = PYTHON.format(commands="".join(lines), read=read, classify=classify)
        ways.append(("In Python, with LiteRT alone", code))
    if files:
        lines = [f"asc-tf predict --model={path} clip.wav\n" for path in files.values()]
        ways.append(("On the command line, audio files of every kind", "".join(lines)))
        lines = [
            f'print(asc_tf.load({json.dumps(path)}).predict_files(["clip.wav"]))\n'
            for path in files.values()
        ]
        ways.append(("In Python, with asc_tf", ASC_TF.format(lines="".join(lines))))
    if path := files.get("saved_model"):
        rate = metadata.get("sample_rate", "rate")
        read = READ.format(clip='"clip.wav"', rate=rate, select=select)
        code = TENSORFLOW.format(path=json.dumps(path), read=read)
        ways.append(("In Python, with TensorFlow alone", code))
    return [{"title": title, "code": code} for title, code in ways]
