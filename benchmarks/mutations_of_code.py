"""Put known bugs into a copy of the code and name those that no test catches.

    python benchmarks/mutations_of_code.py [--only=NAME,NAME] [--list] [--log=FILE]

The bugs are in `mutations_of_code.toml`: a file, a text in it, the text of the bug and
the tests that should fail. The same tests run without any bug first, then the bugs are
tried one at a time; the clone itself is never changed. Slow tests of the same files run
for a bug that the others do not catch. Exits with 1 if a bug survives, with 2 if the
list does not match the code any more. One bug takes from seconds to minutes, all of
them take hours: with `--log` the verdicts are kept, and the same command goes on where
it was stopped. A bug is tried again when its file or its tests have changed.
"""

import ast
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".toml")

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "build", "runs"
)
"""Folders of the clone that tests do not need."""

TIMEOUT = 1800
"""Seconds after which tests are ended: a bug that hangs them is caught."""

TESTS_FAILED, TESTS_INTERRUPTED, NO_TESTS = 1, 2, 5
"""Exit codes of pytest: a test failed; a test file could not be imported; none ran."""

_ONLY = flags.DEFINE_list("only", [], "names of the bugs to try; all by default")
_LIST = flags.DEFINE_bool("list", False, "list the bugs and run nothing")
_LOG = flags.DEFINE_string("log", "", "file of verdicts, JSON lines; it is appended to")


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A known bug.

    Attributes:
        name: Unique name.
        file: File of the package, relative to the clone.
        old: Text that occurs exactly once in the file.
        new: Text that replaces it.
        tests: Test files, or tests, that should catch the bug.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> str:
        """Return the text of the file with the bug in it."""
        return (root / self.file).read_text("utf-8").replace(self.old, self.new)

    def identify(self, root: Path) -> str:
        """Return the checksum of the file with the bug, and of its tests."""
        names = sorted({test.partition("::")[0] for test in self.tests})
        texts = [self.apply(root), *((root / n).read_text("utf-8") for n in names)]
        return hashlib.sha256("".join([*texts, *self.tests]).encode()).hexdigest()

    def find_fault(self, root: Path) -> str:
        """Return the reason why the bug does not match the code; empty if it does."""
        if not (root / self.file).is_file():
            return f"{self.file}: no such file"
        count = (root / self.file).read_text("utf-8").count(self.old)
        if count != 1:
            return f"{self.file}: has {count} times {self.old!r}, not once"
        for test in self.tests:
            if not (root / test.partition("::")[0]).is_file():
                return f"{test}: no such file"
        try:
            ast.parse(self.apply(root))
        except SyntaxError as error:
            return f"{self.file}: no Python with {self.new!r}: {error.msg}"
        return ""


def read_mutations() -> list[Mutation]:
    """Read the list of known bugs."""
    rows = tomllib.loads(LIST.read_text("utf-8"))["mutation"]
    mutations = [Mutation(**row | {"tests": tuple(row["tests"])}) for row in rows]
    names = [mutation.name for mutation in mutations]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"{LIST.name}: {', '.join(twice)}: more than one bug of that name")
    return mutations


def run_tests(root: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run tests in a copy of the code.

    Args:
        root: Folder of the copy.
        *arguments: Tests, and options of pytest.

    Returns:
        Exit code of pytest, and the failed tests or, if there are none, its last line.
    """
    environment = os.environ | {
        "PYTHONPATH": str(root),
        # Python would use compiled code of a file with the same second and size.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return TESTS_FAILED, [f"no end after {TIMEOUT} s"]
    pattern = r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$"
    failed = re.findall(pattern, done.stdout, re.MULTILINE)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, failed or lines[-1:]


def try_mutation(
    mutation: Mutation, copy: Path, failing: Sequence[str]
) -> tuple[int, list[str]]:
    """Put a bug into the copy, run its tests, and remove the bug again.

    Args:
        mutation: The bug.
        copy: Folder of the copy.
        failing: Tests that fail without the bug too, which say nothing about it.
    """
    path = copy / mutation.file
    original = path.read_bytes()
    left_out = [f"--deselect={test}" for test in failing]
    path.write_text(mutation.apply(copy), "utf-8")
    try:
        code, lines = run_tests(copy, "-x", *mutation.tests, *left_out)
        is_slow = code in (0, NO_TESTS)
        if is_slow:
            code, lines = run_tests(copy, "-x", *mutation.tests, "-mslow")
    finally:
        path.write_bytes(original)
    if is_slow and code == TESTS_FAILED and run_tests(copy, *lines, "-mslow")[0]:
        return 0, ["fails without the bug too:", *lines]
    return code, lines


def choose(mutations: Sequence[Mutation]) -> list[Mutation]:
    """Return the bugs that `--only` names, or all of them."""
    known = {mutation.name: mutation for mutation in mutations}
    if unknown := [name for name in _ONLY.value if name not in known]:
        print(f"--only={','.join(unknown)}: no such bug (--list names them)")
        sys.exit(2)
    return [known[name] for name in _ONLY.value or known]


def read_log(mutations: Sequence[Mutation]) -> dict[str, bool]:
    """Read which bugs were caught by an earlier command, on the same code."""
    if not _LOG.value or not Path(_LOG.value).is_file():
        return {}
    rows = map(json.loads, Path(_LOG.value).read_text("utf-8").splitlines())
    known = {row["identity"]: row["caught"] for row in rows}
    identities = {mutation.name: mutation.identify(ROOT) for mutation in mutations}
    return {name: known[each] for name, each in identities.items() if each in known}


def try_all(mutations: Sequence[Mutation]) -> dict[str, bool]:
    """Try bugs, and print each verdict; return whether each one was caught."""
    verdicts = read_log(mutations)
    if verdicts:
        print(f"{len(verdicts)} verdicts are taken from {_LOG.value}")
    left = [mutation for mutation in mutations if mutation.name not in verdicts]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "asc_tf"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
        failing = find_failing_tests(copy, left)
        for mutation in left:
            began = time.monotonic()
            code, lines = try_mutation(mutation, copy, failing)
            is_caught = code in (TESTS_FAILED, TESTS_INTERRUPTED)
            seconds = time.monotonic() - began
            verdict = "caught by" if is_caught else "SURVIVES:"
            print(f"{mutation.name:40} {seconds:5.0f} s  {verdict}", *lines, flush=True)
            verdicts[mutation.name] = is_caught
            if _LOG.value:
                row = {"name": mutation.name, "caught": is_caught, "by": lines}
                row["identity"] = mutation.identify(copy)
                with Path(_LOG.value).open("a", encoding="utf-8") as stream:
                    stream.write(f"{json.dumps(row)}\n")
    return verdicts


def find_failing_tests(copy: Path, mutations: Sequence[Mutation]) -> list[str]:
    """Run the tests of some bugs without any bug, and print and return what fails."""
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    code, failing = run_tests(copy, *tests) if tests else (0, [])
    if code not in (0, TESTS_FAILED):
        sys.exit(f"tests do not run without any bug: {' '.join(failing)}")
    failing = failing if code else []
    for test in failing:
        print(f"fails without any bug, and is left out: {test}", flush=True)
    return failing


def main(_: list[str]) -> None:
    chosen = choose(read_mutations())
    if _LIST.value:
        for mutation in chosen:
            print(f"{mutation.name:40} {mutation.file}")
    faults = {mutation.name: mutation.find_fault(ROOT) for mutation in chosen}
    if any(faults.values()):
        for name, fault in faults.items():
            if fault:
                print(f"{name}: {fault}")
        print(f"the code has changed: please mend {LIST.name}")
        sys.exit(2)
    if _LIST.value:
        return
    verdicts = try_all(chosen)
    survivors = [name for name, is_caught in verdicts.items() if not is_caught]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} bugs are caught")
    if survivors:
        sys.exit(f"no test catches {', '.join(survivors)}")


if __name__ == "__main__":
    app.run(main)
