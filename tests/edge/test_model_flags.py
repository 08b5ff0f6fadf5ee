import pytest

from asc_tf.core.errors import UsageError
from asc_tf.edge.model_flags import check_model_path


def test_a_folder_in_place_of_a_model_names_the_models_in_it(tmp_path):
    for name in ("int8.tflite", "float32.tflite", "export.html"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError) as caught:
        check_model_path(tmp_path)
    assert str(caught.value) == (
        f"--model={tmp_path}: a folder, not a .tflite file; did you mean "
        f"{tmp_path}/float32.tflite or {tmp_path}/int8.tflite?"
    )


def test_a_missing_model_names_a_file_that_is_called_alike(tmp_path):
    (tmp_path / "int8.tflite").touch()
    with pytest.raises(UsageError, match=r"no such file; did you mean .*/int8\.tflite"):
        check_model_path(tmp_path / "int.tflite")


def test_a_model_that_exists_is_returned(tmp_path):
    path = tmp_path / "int8.tflite"
    path.touch()
    assert check_model_path(path) == path
