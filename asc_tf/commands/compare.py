"""asc-tf compare: compare evaluated runs on one page."""

from typing import Any

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_new_path
from asc_tf.core.errors import UsageError
from asc_tf.core.paths import expand_home
from asc_tf.core.text_table import align_columns
from asc_tf.studies.compare import compare

USAGE = """
Compare evaluated runs: scores with intervals, settings that differ, curves, and for
each pair with the same test clips the difference of accuracy with its interval and
McNemar's exact test.

  asc-tf compare W1 W2 ... [--output=compare]

  asc-tf compare runs/plain runs/mixup --output=runs/compare

Each W is an evaluated run folder, or the folder of an asc-tf crossval, whose points are
compared too. The output folder gets compare.html,
compare.json, compare.csv and the figures.
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", "compare", "the folder to write", flag_values=values)


def _run(values: flags.FlagValues) -> int:
    if not values.positional:
        raise UsageError("no runs; give two or more run folders")
    output = read_new_path(values, "output")
    if output.is_file():
        raise UsageError(f"--output={output}: a file, not a folder")
    content, page = compare([expand_home(name) for name in values.positional], output)
    print("\n".join(format_comparison(content)))
    print(page)
    return 0


def format_comparison(content: dict[str, Any]) -> list[str]:
    """Write the scores of the runs and the differences of the pairs as lines."""
    rows = []
    for run in content["runs"]:
        low, high = run["intervals"]["accuracy"]
        rows.append(
            (
                run["name"],
                f"{run['accuracy']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{run['log_loss']:.3f}",
                "LEAKY" if run["leaky"] else "",
            )
        )
    heads = ("run", "accuracy", "95 %", "log loss", "")
    lines = [align_columns([heads, *rows], right=(1, 3)), ""]
    for pair in content["pairs"]:
        line = f"{pair['second']} - {pair['first']}: "
        if not pair["same_clips"]:
            lines.append(f"{line}{pair['note']}")
            continue
        low, high = pair["interval"]
        line += f"{100 * pair['difference']:+.1f} points "
        line += f"({100 * low:+.1f} to {100 * high:+.1f})"
        p_value = pair["p_value"]
        lines.append(line + (f", p = {p_value:.2g}" if p_value is not None else ""))
    return lines


COMMAND = Command(
    name="compare",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
)
