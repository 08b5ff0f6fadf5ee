"""What must hold between the fields of the model's section, and for its family."""

from asc_tf.config.frontend import Frontend
from asc_tf.config.sections import Model
from asc_tf.core.errors import UsageError

SMALLEST_IMAGE = {"inception_v3": 75, "mobilenet_v2": 32, "efficientnet_v2_b0": 32}
BACKBONE_FIELDS = ("backbone", "weights", "train_from")


def check_model(model: Model, frontend: Frontend) -> None:
    """Refuse what the family cannot be built with.

    Raises:
        UsageError: Naming the fields, their values and what to do.
    """
    family = model.family
    if model.filters and not family.filters:
        raise UsageError(
            f"model.filters = {model.filters}: model.name = {model.name} has no "
            "filters to choose; leave them out"
        )
    if not family.accepts(len(model.family_filters)):
        raise UsageError(
            f"model.filters = {model.filters}: model.name = {model.name} needs "
            f"{family.needs} of them, like its own {family.filters}"
        )
    if model.freeze and not (model.init_from or model.name == "imagenet"):
        raise UsageError(
            f"model.freeze = {model.freeze}: new weights would stay random; give "
            "model.init_from too, or leave it out"
        )
    if model.keep_head and not model.init_from:
        raise UsageError(
            "model.keep_head = true: there is no earlier run; give model.init_from "
            "too, or leave it out"
        )
    if model.name == "imagenet":
        _check_image(model, frontend)


def _check_image(model: Model, frontend: Frontend) -> None:
    smallest = SMALLEST_IMAGE[model.backbone]
    if min(frontend.image_frames, frontend.image_bands) < smallest:
        raise UsageError(
            f"frontend.image_frames = {frontend.image_frames}, frontend.image_bands = "
            f"{frontend.image_bands}: model.name = imagenet takes images, and "
            f"model.backbone = {model.backbone} none below {smallest}"
        )


def model_without_effect(model: Model) -> list[str]:
    """What is set and changes nothing, or hardly what was meant, a sentence each."""
    usual = Model()
    idle: tuple[str, ...] = () if model.name == "imagenet" else BACKBONE_FIELDS
    idle += () if model.family.units else ("units",)
    said = [
        f"model.{name} changes nothing with model.name = {model.name}"
        for name in idle
        if getattr(model, name) != getattr(usual, name)
    ]
    if model.name == "imagenet" and model.init_from and model.weights != "none":
        said.append(
            f"model.weights = {model.weights} changes nothing: those of "
            "model.init_from take its place; use none"
        )
    if model.name == "imagenet" and not model.init_from and model.weights == "none":
        frozen = "random weights below it stay as they are"
        where = model.train_from or "the last layer"
        said.append(f"model.weights = none trains from {where} on: {frozen}")
    return said
