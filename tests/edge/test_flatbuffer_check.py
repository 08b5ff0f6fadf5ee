"""Damaged and malicious .tflite files are refused before LiteRT gets them."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import trial_runs
from ai_edge_litert.tools import flatbuffer_utils
from statistics_model import METADATA

from asc_tf.core.errors import UserError
from asc_tf.edge import flatbuffer_tables, litert, tflite_metadata
from asc_tf.edge.flatbuffer_check import check_flatbuffer
from asc_tf.edge.flatbuffer_tables import read_model
from asc_tf.edge.runtime import EdgeModel

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from damaged_models import DAMAGES, case, seal, split
from fuzz_models import DOCTOR_EVERY, Models, fuzz, write_originals


def test_every_table_is_read_as_the_schema_of_litert_reads_it(flatbuffer):
    ours = read_model(flatbuffer)
    theirs = flatbuffer_utils.schema_fb.ModelT.InitFromPackedBuf(flatbuffer)
    assert ours["version"] == theirs.version == 3
    assert len(ours["buffers"]) == len(theirs.buffers)
    (ours_graph,), (theirs_graph,) = ours["subgraphs"], theirs.subgraphs
    for row, expected in zip(ours_graph["tensors"], theirs_graph.tensors, strict=True):
        assert row["name"] == expected.name
        assert (row["type"], row["buffer"]) == (expected.type, expected.buffer)
        shape = [] if expected.shape is None else list(expected.shape)
        assert list(row["shape"]) == shape
        data = theirs.buffers[expected.buffer].data
        own = ours["buffers"][row["buffer"]]["data"]
        np.testing.assert_array_equal(own, [] if data is None else data)
    pairs = zip(ours_graph["operators"], theirs_graph.operators, strict=True)
    for row, expected in pairs:
        assert row["opcode_index"] == expected.opcodeIndex
        assert list(row["inputs"]) == list(expected.inputs)
        assert list(row["outputs"]) == list(expected.outputs)
    (signature,) = ours["signature_defs"]
    assert signature["signature_key"] == b"serving_default"
    assert [row["name"] for row in signature["inputs"]] == [b"waveform"]


def change_custom_code(model):
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = 32, 32
    code.customCode = b"FlexConv2D"


def change_scale(model):
    quantization = flatbuffer_utils.schema_fb.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [float("nan")], [0]
    model.subgraphs[0].tensors[0].quantization = quantization


def change_options(model):
    operation = model.subgraphs[0].operators[0]
    operation.builtinOptionsType = 111
    operation.builtinOptions = flatbuffer_utils.schema_fb.VarHandleOptionsT()


def change_constant(model):
    index = next(i for i, row in enumerate(model.buffers) if row.data is not None)
    model.buffers[index].data = np.append(model.buffers[index].data, np.uint8(0))


def changed(path, value):
    """A function that sets what a path of names and numbers leads to."""

    def change(model):
        target = model
        *steps, last = path.split(".")
        for step in steps:
            target = target[int(step)] if step.isdigit() else getattr(target, step)
        if last.isdigit():
            target[int(last)] = value
        else:
            setattr(target, last, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_custom_code, r"custom operation 'FlexConv2D' is not part of LiteRT"),
        (change_scale, "a scale is not a number"),
        (change_constant, r"a constant of \d+ bytes has \d+"),
        (changed("version", 2), "schema has version 2, not 3"),
        (changed("subgraphs", []), "it has no graph"),
        (changed("buffers.0.offset", 5), "lies outside of the flatbuffer"),
        (changed("operatorCodes.0.builtinCode", 200), "operation 200 is not known"),
        (
            changed("operatorCodes.0.builtinCode", 142),
            "it has the operation VAR_HANDLE, which asc-tf never exports",
        ),
        (
            change_options,
            "it has the options VarHandle, which asc-tf never exports",
        ),
        (
            changed("subgraphs.0.operators.0.customOptions", [1]),
            r"it has the field Operator\.custom_options, which asc-tf never exports",
        ),
        (changed("subgraphs.0.tensors.0.buffer", 999), "a buffer has a number"),
        (changed("subgraphs.0.tensors.0.type", 13), "a tensor has the type 13"),
        (changed("subgraphs.0.tensors.0.shape", [-1, 5]), r"the shape \[-1, 5\]"),
        (changed("subgraphs.0.tensors.0.shape", [1] * 9), "a tensor has the shape"),
        (changed("subgraphs.0.tensors.0.shape", [2**30, 4]), "17179869184 bytes"),
        (changed("subgraphs.0.operators.0.opcodeIndex", 99), "an operation has a"),
        (changed("subgraphs.0.operators.0.inputs.0", 9999), "a tensor has a number"),
        (changed("subgraphs.0.operators.0.inputs.0", -2), "a tensor has a number"),
        (changed("subgraphs.0.operators.0.outputs.0", -1), "a tensor has a number"),
        (changed("subgraphs.0.operators.0.inputs.0", 7), "before it is computed"),
        (changed("subgraphs.0.inputs.0", 77), "a tensor has a number outside"),
        (changed("signatureDefs.0.subgraphIndex", 1), "a graph has a number"),
        (changed("signatureDefs.0.inputs.0.tensorIndex", 99), "of the signature has"),
    ],
)
def test_a_number_that_leads_nowhere_is_named(flatbuffer, tmp_path, change, message):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(flatbuffer))
    change(model)
    changed_flatbuffer = flatbuffer_utils.convert_object_to_bytearray(model)
    path = tmp_path / "m.tflite"
    path.write_bytes(changed_flatbuffer)
    tflite_metadata.write_metadata(path, METADATA)
    with pytest.raises(UserError, match=rf"m\.tflite: damaged: .*{message}") as raised:
        EdgeModel(path)
    assert str(raised.value).endswith("copy the model or export it again")


def test_a_list_that_claims_gigabytes_is_refused(flatbuffer):
    place = struct.unpack_from("<I", flatbuffer)[0]
    layout = place - struct.unpack_from("<i", flatbuffer, place)[0]
    # The second field: the codes of the operations.
    field = place + struct.unpack_from("<H", flatbuffer, layout + 6)[0]
    start = field + struct.unpack_from("<I", flatbuffer, field)[0]
    wild = bytearray(flatbuffer)
    wild[start : start + 4] = b"\xff\xff\xff\x7f"
    with pytest.raises(UserError, match=r"Model\.operator_codes is longer than"):
        check_flatbuffer(bytes(wild))


def test_tables_that_share_their_bytes_are_counted(flatbuffer, monkeypatch):
    monkeypatch.setattr(flatbuffer_tables, "MAX_TABLES", 20)
    with pytest.raises(UserError, match="more than 20 tables"):
        check_flatbuffer(flatbuffer)
    monkeypatch.undo()
    monkeypatch.setattr(flatbuffer_tables, "MAX_ITEMS", 20)
    with pytest.raises(UserError, match="more than 20 items"):
        check_flatbuffer(flatbuffer)


def test_every_cut_of_a_flatbuffer_is_a_user_error(flatbuffer):
    for size in range(8, len(flatbuffer) - 64, 37):
        with pytest.raises(UserError):
            check_flatbuffer(flatbuffer[:size])


def test_dozens_of_damaged_models_are_refused_or_answer_and_nothing_else(
    model_file, tmp_path
):
    pytest.importorskip("keras", reason="the doctor runs the survivors")
    original = model_file.read_bytes()
    models = Models(tmp_path, original)
    cases = [case(3, number, [original]) for number in range(2 * len(DAMAGES))]
    # The doctor would examine the first one, in a process that takes a second.
    outcomes = [
        models.check(kind, number, content)
        for number, (kind, content) in enumerate(cases, 1)
    ]
    faults = [outcome for outcome in outcomes if outcome.fault]
    assert not faults, "\n".join(map(str, faults))
    refused = {outcome.kind for outcome in outcomes if outcome.result == "refused"}
    assert len(refused) > len(DAMAGES) // 2
    assert any(outcome.result == "answered" for outcome in outcomes)


@pytest.mark.slow
def test_hundreds_of_damaged_models_are_refused_or_answer_and_nothing_else(tmp_path):
    # As many of each kind as the doctor needs to examine one; the benchmark has more.
    count = DOCTOR_EVERY * len(DAMAGES)
    outcomes = list(fuzz(write_originals(tmp_path), count, seed=1))
    assert sorted(outcome.index for outcome in outcomes) == list(range(count))
    faults = [outcome for outcome in outcomes if outcome.fault]
    assert not faults, "\n".join(map(str, faults))


def test_a_crash_of_litert_is_a_user_error(model_file, monkeypatch):
    monkeypatch.setattr(litert, "run_once", trial_runs.crash)
    with pytest.raises(UserError, match=r"\.tflite: LiteRT crashes .*\(SIGABRT\)"):
        EdgeModel(model_file)


def test_a_model_is_tried_as_it_is_run(model_file, monkeypatch):
    monkeypatch.setattr(litert, "run_once", trial_runs.refuse_threads)
    with pytest.raises(UserError, match=r"7 threads, \[1600\], 3 labels"):
        EdgeModel(model_file, threads=7)


def test_the_doctor_is_given_every_file_with_changed_metadata(model_file, tmp_path):
    pytest.importorskip("keras", reason="the doctor needs it")
    models = Models(tmp_path, model_file.read_bytes())
    flatbuffer, metadata = split(model_file.read_bytes())
    for name, value, is_refused in (
        ("temperature", 10**400, True),
        ("temperature", float("nan"), True),
        ("temperature", 0, True),
        ("temperature", 2.0, False),
        ("precision", "../../x", False),
    ):
        content = seal(flatbuffer, metadata | {name: value})
        outcome = models.check("metadata", 1, content)
        assert not outcome.fault, outcome.fault
        assert (outcome.result == "refused") == is_refused
