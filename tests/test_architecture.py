import ast
import tomllib
from pathlib import Path

from processes import run_python

from asc_tf.cli import MODULES

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "asc_tf").rglob("*.py"))
LIGHT = ("core", "config", "dsp", "command_line", "manifest", "datasets", "edge")
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def lines_of_functions(path):
    """Name and length of each function, its docstring apart."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            described = ast.get_docstring(node) is not None
            docstring = first.end_lineno - first.lineno + 1 if described else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


def test_light_modules_import_without_tensorflow():
    light = [
        name_of(path).removesuffix(".__init__")
        for path in SOURCES
        if path.relative_to(ROOT / "asc_tf").with_suffix("").parts[0] in LIGHT
    ]
    assert {name.split(".")[1] for name in light} == set(LIGHT)
    code = (
        "import importlib\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
    )
    done = run_python(code, *light, without=("tensorflow", "keras"), timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_itself_imports_nothing_heavy():
    code = "import sys, asc_tf; print(sorted({'numpy', 'keras'} & set(sys.modules)))"
    done = run_python(code, timeout=60)
    assert done.stdout == "[]\n"


def test_every_module_is_short_and_begins_with_a_docstring():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MAX_MODULE_LINES, path
        assert ast.get_docstring(ast.parse(text)), path


def test_every_function_is_short():
    long = [
        (name_of(path), name, count)
        for path in SOURCES
        for name, count in lines_of_functions(path)
        if count > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_no_module_is_named_for_odds_and_ends():
    vague = {"utils", "util", "helpers", "misc", "common"}
    assert not vague & {path.stem for path in SOURCES}


def test_no_path_is_expanded_by_a_function_that_fails_without_a_home_folder():
    for path in SOURCES:
        assert ".expanduser()" not in path.read_text(encoding="utf-8"), path
        assert "Path.home()" not in path.read_text(encoding="utf-8"), path


def test_the_import_contracts_are_there_and_name_every_light_module_and_command():
    with (ROOT / "pyproject.toml").open("rb") as stream:
        contracts = tomllib.load(stream)["tool"]["importlinter"]["contracts"]
    by_id = {contract["id"]: contract for contract in contracts}
    assert by_id["layers"]["exhaustive"]
    assert set(by_id["commands"]["modules"]) == set(MODULES.values())
    light = {f"asc_tf.{name}" for name in LIGHT}
    assert light <= set(by_id["without-tensorflow"]["source_modules"])


def test_every_package_is_in_the_wheel():
    lines = (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()
    listed = {line.strip() for line in lines if line.strip().startswith("asc_tf")}
    packages = {name_of(path.parent) for path in SOURCES}
    assert packages <= listed
