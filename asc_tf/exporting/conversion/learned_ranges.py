"""Ranges measured during quantization-aware training, for the quantizer of LiteRT.

Training knows layers, the quantizer tensors of the converted file. The name of a tensor
lists the layers that the converter has joined into one operation, as in
`classifier_1/body_1/conv_relu_1/Relu;classifier_1/body_1/conv_1/convolution`.
"""

import re
from collections.abc import Mapping

from asc_tf.exporting.formats import FEATURES

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value by the name of a tensor, or of a layer."""


def replace_ranges(
    calibrated: Ranges, learned: Ranges, body: str
) -> dict[str, tuple[float, float]]:
    """Put ranges measured during training in the place of calibrated ones.

    Args:
        calibrated: Range of each activation by the name of its tensor, in the order of
            the operations. Those that are not in `learned` keep theirs.
        learned: Range of the output of each layer by the layer's name, and of the
            features. A layer of several operations has that of the last one.
        body: Name of the model without its front-end.

    Raises:
        ValueError: If a layer has no tensor in the file, naming it.
    """
    tensors: dict[str, str] = {}
    for name in calibrated:
        layers = [FEATURES] if name == FEATURES else _list_layers(name, body)
        tensors |= dict.fromkeys(layers, name)
    if missing := sorted(set(learned) - set(tensors)):
        raise ValueError(
            f"the converted file has no output of {', '.join(missing)}, whose ranges "
            "were measured during training"
        )
    changed = {tensors[layer]: learned[layer] for layer in learned}
    return {name: changed.get(name, calibrated[name]) for name in calibrated}


def _list_layers(tensor: str, body: str) -> list[str]:
    """List the layers of the body in the name of a tensor.

    Keras appends `_1` where a layer is called for the second time.
    """
    names = re.findall(rf"(?:^|[/;]){re.escape(body)}(?:_\d+)?/([^/;]+)/", tensor)
    return [*names, *(re.sub(r"_\d+$", "", name) for name in names)]
