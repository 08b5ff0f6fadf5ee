"""asc-tf explore: show the counts, pictures and sounds of a corpus on one page."""

from absl import flags

from asc_tf import config as configuration
from asc_tf import datasets
from asc_tf.command_line.arguments import define_config_file
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_new_path
from asc_tf.commands.config_from_flags import resolve
from asc_tf.core.files import write_text
from asc_tf.core.packages import require_package
from asc_tf.explore.page_content import explore
from asc_tf.pipeline.corpus_checks import check_missing_files
from asc_tf.report.explore_page import check_output, format_bytes, render

USAGE = """
Show what a model is trained on: label counts, examples and their augmentation.

  asc-tf explore CONFIG [--output=explore.html] [--flag=value ...]

  asc-tf explore esc10_small --dataset.dir=ESC-50 --output=explore.html

CONFIG is a TOML file, a run folder, or the name of a shipped configuration
(--config=CONFIG is the same). The page is one file that needs no other; only clips of
the training split are opened.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_config_file(values)
    flags.DEFINE_string("output", "explore.html", "the page", flag_values=values)


def _run(values: flags.FlagValues) -> int:
    output = read_new_path(values, "output")
    check_output(output)
    config = resolve(values)
    require_package("tensorflow")
    manifest = datasets.load(config.dataset)
    check_missing_files(manifest, config)
    page = render(explore(config, manifest))
    write_text(output, page)
    size = format_bytes(len(page.encode()))
    print(f"{output}: {len(manifest.labels)} labels, {size}")
    return 0


COMMAND = Command(
    name="explore",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    word_flags=("config",),
    common=(
        *("dataset.name", "dataset.dir", "audio.sample_rate", "audio.segment_seconds"),
        *("frontend.kind", "frontend.n_mels", "augment.mixup_alpha", "augment.noise"),
        *("augment.time_masks", "augment.frequency_masks", "augment.time_roll"),
    ),
    # The page is of audio.
    keys=tuple(key for key in configuration.FIELDS if key != "dataset.features"),
)
