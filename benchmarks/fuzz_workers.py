"""Child processes that try damaged files: crashes and hangs are counted."""

import collections
import contextlib
import dataclasses
import multiprocessing
import queue
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import flags

HUNG = 120.0
"""Seconds after which a process is killed: many, because a busy disk or a paused
machine may stop every process for some."""

PROGRESS = 500
"""Files between two lines on stderr."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one file; `fault` is empty if nothing went wrong."""

    kind: str
    index: int
    result: str = ""
    seconds: float = 0.0
    mebibytes: float = 0.0
    fault: str = ""


def peak_kibibytes() -> int:
    """Return the largest memory that this process has had, in KiB."""
    import resource  # Windows has no such module

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Worker:
    """Child process that tries files; it is replaced when it crashes or hangs.

    Args:
        work: Function that the process runs. It is called with its end of a pipe and
            the arguments; it receives numbers of files, and sends an outcome for each,
            until it receives None.
        arguments: Arguments of `work`.
        name_kind: Function that names the kind of a file by its number.
        hung: Seconds after which the process is killed.
    """

    def __init__(
        self,
        work: Callable[..., None],
        arguments: tuple[Any, ...],
        name_kind: Callable[[int], str],
        hung: float = HUNG,
    ) -> None:
        self._work, self._arguments = work, arguments
        self._name_kind, self._hung = name_kind, hung
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=self._work, args=(theirs, *self._arguments), daemon=True
        )
        self._process.start()
        theirs.close()
        self._is_new = True

    def run(self, index: int) -> Outcome:
        """Try one file and return its outcome."""
        patience = self._hung * (4 if self._is_new else 1)
        self._connection.send(index)
        with contextlib.suppress(EOFError, ConnectionError):
            if self._connection.poll(patience):
                outcome: Outcome = self._connection.recv()
                self._is_new = False
                return outcome
        self._process.join(1)
        code = self._process.exitcode
        self.stop()
        self._start()
        fault = "hung" if code is None else f"crash: exit code {code}"
        return Outcome(self._name_kind(index), index, fault=fault)

    def stop(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.join()


def run_workers(
    make: Callable[[], Worker], count: int, workers: int
) -> Iterator[Outcome]:
    """Try files in child processes.

    Args:
        make: Function that starts a worker.
        count: Number of files.
        workers: Number of child processes.

    Yields:
        Outcome of each file, in any order.
    """
    indices, lock = iter(range(count)), threading.Lock()
    outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()

    def drive() -> None:
        worker = make()
        try:
            while True:
                with lock:
                    index = next(indices, None)
                if index is None:
                    break
                outcomes.put(worker.run(index))
        finally:
            worker.stop()
            outcomes.put(None)

    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(drive) for _ in range(workers)]
        for _ in range(workers):
            yield from iter(outcomes.get, None)
        for each in running:
            each.result()


def define_flags(count: int) -> None:
    """Define the flags of all fuzzers."""
    flags.DEFINE_integer("count", count, "number of damaged files", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "seed of the damage", lower_bound=0)
    flags.DEFINE_integer("workers", 2, "number of child processes", lower_bound=1)
    flags.DEFINE_string("keep", "fuzz_faults", "folder for the files with a fault")


def report(
    outcomes: Iterable[Outcome],
    kinds: Collection[str],
    results: Sequence[str],
    read: Callable[[int], bytes],
    suffix: str = "",
) -> None:
    """Keep the files with a fault, and print a table; exit with 1 on any fault.

    Args:
        outcomes: Outcomes as they come.
        kinds: Kinds of files, the rows of the table.
        results: Results without a fault, its first columns.
        read: Function that makes a file from its number.
        suffix: Suffix of the kept files.
    """
    done = []
    for outcome in outcomes:
        done.append(outcome)
        if outcome.fault:
            folder = Path(flags.FLAGS.keep)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{flags.FLAGS.seed}-{outcome.index}{suffix}"
            path.write_bytes(read(outcome.index))
            print(f"{outcome.kind}: {outcome.fault}: {path}", flush=True)
        if len(done) % PROGRESS == 0:
            print(f"{len(done)} files", file=sys.stderr, flush=True)
    print(format_table(done, kinds, results))
    if any(outcome.fault for outcome in done):
        sys.exit(1)


def format_table(
    outcomes: Sequence[Outcome], kinds: Collection[str], results: Sequence[str]
) -> str:
    """Format the outcomes as a table with one row per kind of file."""
    columns = (*results, "crashed", "hung", "other faults")
    heads = "".join(f"{name:>14}" for name in columns)
    lines = [f"{'':22}{heads}{'slowest s':>12}{'most MiB':>10}"]
    for kind in [*kinds, "all"]:
        own = [each for each in outcomes if kind in (each.kind, "all")]
        counts = collections.Counter(_name_column(each) for each in own)
        slowest = max((each.seconds for each in own), default=0.0)
        most = max((each.mebibytes for each in own), default=0.0)
        numbers = "".join(f"{counts[name]:14}" for name in columns)
        lines.append(f"{kind:22}{numbers}{slowest:12.2f}{most:10.0f}")
    return "\n".join(lines)


def _name_column(outcome: Outcome) -> str:
    if not outcome.fault:
        return outcome.result
    starts = {"crash": "crashed", "hung": "hung"}
    return starts.get(outcome.fault.split(":")[0], "other faults")
