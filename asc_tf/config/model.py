"""The model section of a configuration: features to probabilities."""

from dataclasses import dataclass
from functools import partial

from asc_tf.config.model_families import FAMILIES, Family
from asc_tf.config.options import Section, option

_imagenet_option = partial(option, only_with={"name": "imagenet"})
_WITH_UNITS = tuple(name for name, family in FAMILIES.items() if family.units)


@dataclass(frozen=True)
class Model(Section):
    """The network: features to probabilities."""

    name: str = option(
        "separable_cnn",
        "model family; asc-tf models describes each",
        choices=tuple(FAMILIES),
    )
    filters: tuple[int, ...] = option(
        (),
        "filters of the family's convolutions, from the input on; none: its own "
        "numbers (asc-tf models)",
        minimum=1,
        maximum=2048,
        items=int,
    )
    units: int = option(
        0,
        "units of the dense layer before the last, or of the GRU in each direction; 0: "
        "the family's own number",
        minimum=0,
        maximum=8192,
        only_with={"name": _WITH_UNITS},
    )
    dropout: float = option(
        0.2,
        "dropout before the last layer (us8k_cnn, dcase2018_cnn: after each block too)",
        minimum=0.0,
        maximum=0.95,
    )
    backbone: str = _imagenet_option(
        "mobilenet_v2",
        "the network whose last layer is replaced",
        choices=("inception_v3", "mobilenet_v2", "efficientnet_v2_b0"),
    )
    weights: str = _imagenet_option(
        "imagenet",
        "weights of the backbone: imagenet (fetched once), none (random), or a file "
        "without top (.h5, .weights.h5, .keras)",
    )
    train_from: str = _imagenet_option(
        "",
        "name of the first layer of the backbone that is trained; empty: only the last "
        "layer of the model is",
    )
    init_from: str = option(
        "",
        "run folder whose model gives the first weights, except the last layer's",
    )
    keep_head: bool = option(
        False,
        "take the weights of the last layer too, from a run with the same labels",
        only_with={"init_from": True},
    )
    freeze: tuple[str, ...] = option(
        (),
        "patterns (block1*, stage?_conv1) of layers that are not trained, with "
        "init_from or imagenet",
        items=str,
    )
    budget_kb: float = option(
        0.0,
        "largest size of the int8 file, kB of 1000 bytes, as estimated before "
        "training; 0: no limit",
        minimum=0.0,
    )
    budget_mmacs: float = option(
        0.0,
        "most multiply-accumulates of a segment, millions, without the front-end; 0: "
        "no limit",
        minimum=0.0,
    )

    @property
    def family(self) -> Family:
        """Family of `name`."""
        return FAMILIES[self.name]

    @property
    def weights_file(self) -> str:
        """File of `weights`; empty if it names none."""
        return "" if self.weights in ("imagenet", "none") else self.weights

    @property
    def family_filters(self) -> tuple[int, ...]:
        """Filters, or the family's own if none are given."""
        return self.filters or self.family.filters

    @property
    def family_units(self) -> int:
        """Units, or the family's own number if none is given."""
        return self.units or self.family.units
