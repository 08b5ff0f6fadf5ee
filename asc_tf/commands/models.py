"""asc-tf models: list the model families, or describe one and its cost."""

from collections.abc import Sequence

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.arguments import define_config_file
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes
from asc_tf.config import FAMILIES, Config, section_keys, suggest
from asc_tf.core.errors import UsageError
from asc_tf.core.packages import require_package
from asc_tf.core.text_table import align_columns
from asc_tf.datasets.catalog import CATALOG
from asc_tf.dsp.preprocessing import Preprocessing

USAGE = """
List the families of models, or say what one costs, layer by layer.

  asc-tf models [list]
  asc-tf models info NAME [--config=C] [--labels=10]

MACs, parameters and memory are those of one segment of the configuration, without the
front-end. The size of the int8 file is an estimate, with the front-end.
"""
USUAL_LABELS = 10


def _define_flags(values: flags.FlagValues) -> None:
    define_config_file(values)
    flags.DEFINE_integer(
        "labels",
        None,
        f"info: number of labels; the corpus's own where known, or {USUAL_LABELS}",
        lower_bound=2,
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    action, *rest = values.positional or ["list"]
    if action not in ("list", "info"):
        near = suggest(action, ("list", "info"))
        if action in FAMILIES:
            near = f"; did you mean info {action}?"
        raise UsageError(f"{action}: unknown action{near} (known: list, info)")
    if action == "list":
        if rest:
            raise UsageError(f"unexpected argument {' '.join(rest)} after list")
        print(_list_families())
        return 0
    config = _configure(rest, values)
    labels = values.labels or CATALOG[config.dataset.name].classes or USUAL_LABELS
    segment = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    require_package("tensorflow")
    from asc_tf.models.description import describe_model

    print(describe_model(config, segment, labels))
    return 0


def _configure(rest: Sequence[str], values: flags.FlagValues) -> Config:
    """Read the configuration, with the family that NAME or --model.name names.

    Filters and units that it has for another family are left out.
    """
    changes = read_changes(values)
    given = changes.get("model.name")
    names = list(dict.fromkeys([*rest, *([given] if given else [])]))
    if len(names) > 1:
        raise UsageError(f"info: one model only, not {' and '.join(names)}")
    config = Config()
    if values.config:
        config = configuration.read(configuration.find(values.config))
    elif not names:
        raise UsageError(f"info: no model; give one of {', '.join(FAMILIES)}")
    name = names[0] if names else config.model.name
    if name not in FAMILIES:
        raise UsageError(
            f"{name}: unknown model{suggest(name, FAMILIES)} (known: "
            f"{', '.join(FAMILIES)})"
        )
    other = {} if name == config.model.name else {"filters": (), "units": 0}
    own = {f"model.{key}": value for key, value in other.items()}
    return config.replace(own | changes | {"model.name": name})


def _list_families() -> str:
    """Write a table with two lines per family."""
    rows = [("name", "filters", "what it is; its source")]
    for family in FAMILIES.values():
        filters = ",".join(map(str, family.filters)) or "-"
        rows += [(family.name, filters, family.summary), ("", "", family.source)]
    table = align_columns(rows, right=())
    return f"{table}\n\nasc-tf models info NAME says what one costs."


COMMAND = Command(
    name="models",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
    common=(
        *("dataset.name", "audio.sample_rate", "audio.segment_seconds"),
        *("frontend.n_mels", "frontend.image_frames", "frontend.image_bands"),
        *("model.filters", "model.units", "model.backbone", "model.budget_kb"),
    ),
    keys=("dataset.name", *section_keys("audio", "frontend", "model")),
)
