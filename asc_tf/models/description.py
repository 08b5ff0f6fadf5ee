"""Description of a model: its family, the cost of its layers, its size."""

import dataclasses

from asc_tf import models
from asc_tf.config import Config
from asc_tf.frontend import FrontendLayer
from asc_tf.models import budget, cost


def describe_model(config: Config, segment: tuple[int, ...], labels: int) -> str:
    """Describe the model of a configuration and what it costs, layer by layer.

    Args:
        config: The configuration.
        segment: Shape of a segment, `(samples,)` or `(samples, channels)`.
        labels: Number of classes.

    Returns:
        Lines for the screen.

    Raises:
        UsageError: If the family cannot be built for the features.
    """
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    shape = frontend.compute_output_shape((None, *segment))[1:]
    # A backbone costs the same with random weights, which need no download.
    settings = dataclasses.replace(config.model, weights="none")
    body = models.build(settings, shape, labels)
    family = settings.family
    lines = [
        f"{family.name}: {family.summary}",
        family.source,
        f"features {' x '.join(map(str, shape))} (a segment of "
        f"{config.audio.segment_seconds:g} s), {labels} labels",
        "",
        cost.format_table(cost.compute_costs(body)),
        "",
        budget.summarize(body, config.frontend),
    ]
    exceeded = budget.list_over_budget(body, config.model, config.frontend)
    return "\n".join([*lines, *(f"over {each}" for each in exceeded)])
