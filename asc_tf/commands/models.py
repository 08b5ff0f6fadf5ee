"""asc-tf models: the families of models there are, and what one costs."""

import dataclasses
from collections.abc import Sequence

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line import command
from asc_tf.command_line.arguments import define_config_file
from asc_tf.config import FAMILIES, Config, suggestion
from asc_tf.core.errors import UsageError
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
        near = suggestion(action, ("list", "info"))
        if action in FAMILIES:
            near = f"; did you mean info {action}?"
        raise UsageError(f"{action}: unknown action{near} (known: list, info)")
    if action == "list":
        if rest:
            raise UsageError(f"unexpected argument {' '.join(rest)} after list")
        print(listing())
        return 0
    config = _configuration(rest, values)
    labels = values.labels or CATALOG[config.dataset.name].classes or USUAL_LABELS
    print(info(config, labels))
    return 0


def _configuration(rest: Sequence[str], values: flags.FlagValues) -> Config:
    """The configuration, with the family that NAME or --model.name names.

    The numbers that it has for another family are left out.
    """
    changes = command.changed(values, COMMAND.configuration_keys())
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
            f"{name}: unknown model{suggestion(name, FAMILIES)} (known: "
            f"{', '.join(FAMILIES)})"
        )
    other = {} if name == config.model.name else {"filters": (), "units": 0}
    own = {f"model.{key}": value for key, value in other.items()}
    return config.replace(own | changes | {"model.name": name})


def listing() -> str:
    """Two lines per family."""
    rows = [("name", "filters", "what it is; its source")]
    for family in FAMILIES.values():
        filters = ",".join(map(str, family.filters)) or "-"
        rows += [(family.name, filters, family.summary), ("", "", family.source)]
    table = align_columns(rows, right=())
    return f"{table}\n\nasc-tf models info NAME says what one costs."


def info(config: Config, labels: int) -> str:
    """What the model of a configuration is and costs.

    Args:
        config: The configuration.
        labels: Number of classes.

    Returns:
        Lines for the screen.

    Raises:
        UsageError: If the family cannot be built for the features.
    """
    command.need("tensorflow")
    from asc_tf import models
    from asc_tf.frontend import FrontendLayer
    from asc_tf.models import budget, cost

    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    segment = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    shape = frontend.compute_output_shape((None, *segment))[1:]
    # What the backbone has learned is not what it costs.
    settings = dataclasses.replace(config.model, weights="none")
    body = models.build(settings, shape, labels)
    family = settings.family
    lines = [
        f"{family.name}: {family.summary}",
        family.source,
        f"features {' x '.join(map(str, shape))} (a segment of "
        f"{config.audio.segment_seconds:g} s), {labels} labels",
        "",
        cost.table(cost.layer_costs(body)),
        "",
        budget.summary(body, config.frontend),
        *(
            f"over {each}"
            for each in budget.over_budget(body, config.model, config.frontend)
        ),
    ]
    return "\n".join(lines)


COMMAND = command.Command(
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
    sections=("audio", "frontend", "model"),
    keys=("dataset.name",),
)
