"""Model families: descriptions, sources, and the settings that each takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One choice of `model.name`.

    Attributes:
        name: Value of `model.name`.
        summary: Description of the network in a line.
        source: Publication that it is from or follows.
        filters: Filters where `model.filters` gives none; empty: it has no such
            setting.
        fewest: Filters that must be given at least.
        most: Filters that may be given at most; 0: any number.
        units: Units where `model.units` is 0; 0: it has no such layers.
    """

    name: str
    summary: str
    source: str
    filters: tuple[int, ...] = ()
    fewest: int = 0
    most: int = 0
    units: int = 0

    def accepts(self, count: int) -> bool:
        """Check whether the family can be built with so many filters."""
        return self.fewest <= count and (not self.most or count <= self.most)

    @property
    def needs(self) -> str:
        """Number of filters that it needs, in words."""
        return f"{self.fewest}" if self.most else f"at least {self.fewest}"


_ALL = (
    Family(
        "separable_cnn",
        "compact: depthwise-separable convolutions, two a block",
        "block: Howard et al., MobileNets, 2017 (arXiv:1704.04861)",
        filters=(24, 48, 96, 144),
        fewest=1,
    ),
    Family(
        "esa3_cnn",
        "three stages of 3x3 convolutions, average and maximum over all, dense",
        "pattern: Simonyan and Zisserman, VGG, 2014 (arXiv:1409.1556)",
        filters=(32, 64, 128),
        fewest=3,
        most=3,
        units=256,
    ),
    Family(
        "esa3_crnn",
        "the stages of esa3_cnn pooling bands only, then a bidirectional GRU",
        "pattern: Cakir et al., CRNN, 2017 (arXiv:1702.06286)",
        filters=(32, 64, 128),
        fewest=3,
        most=3,
        units=64,
    ),
    Family(
        "us8k_cnn",
        "pairs of 1x1 convolutions on 41 x 60 x 2 (log-mel and its delta), dense",
        "input: Piczak, Environmental sound classification with CNNs, MLSP 2015",
        filters=(48, 96),
        fewest=2,
        most=2,
        units=256,
    ),
    Family(
        "dcase2018_cnn",
        "two 5x5 convolutions on 500 x 40, maximum over all",
        "input: baseline of DCASE 2018 task 1, Mesaros et al. (arXiv:1807.09840)",
        filters=(64, 64),
        fewest=2,
        most=2,
    ),
    Family(
        "fsdkaggle2018_cnn",
        "four convolutions of 10 frames x 4 coefficients on 40 MFCC, dense",
        "Zafar, Beginner's Guide to Audio Data, Kaggle 2018",
        filters=(32, 32, 32, 32),
        fewest=4,
        most=4,
        units=64,
    ),
    Family(
        "cp_mobile",
        "inverted residual blocks for 128 kB and 30 million MACs",
        "Schmid et al., CP-Mobile, DCASE 2023 Workshop",
        filters=(20, 40, 88),
        fewest=3,
        most=3,
    ),
    Family(
        "imagenet",
        "a backbone trained on ImageNet, and a new last layer",
        "Keras Applications: Inception v3, MobileNetV2, EfficientNetV2-B0",
    ),
)
FAMILIES = {family.name: family for family in _ALL}
