"""Every network that a run will build, checked before it starts and without TensorFlow, which takes ten seconds to load."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facekit.data.manifests import read_manifest
from facekit.errors import ParameterError
from facekit.paths import project_root, read_json

# Smallest side in pixels, and number of layers as keras.applications lists them, which a test compares with what is built.
NETWORKS = {
    "MobileNet": (32, 86),
    "ResNet18": (32, 85),
    "ResNet50": (32, 175),
    "InceptionV3": (75, 311),
    "DenseNet121": (32, 427),
}
WIDTHS = (0.25, 0.5, 0.75, 1.0)  # of the MobileNets that were trained on ImageNet


def check_networks(values: dict[str, Any]) -> None:
    """Refuse a network that cannot be built from a run's parameters; ParameterError names the first parameter that is wrong."""
    size = values.get("input_size", 0)
    if isinstance(size, list) and len(size) != 2:
        raise ParameterError(f"input_size = {size}", expected="height and width")
    sides = size if isinstance(size, list) else [size]
    sides = [side for side in (*sides, *map(values.get, ("input_height", "input_width", "claim_size"))) if side]
    for network, name, source, frozen in _list_networks(values):
        smallest, layers = NETWORKS.get(network, (1, frozen))  # one of your own is checked when it is built
        if min(sides, default=smallest) < smallest:
            raise ParameterError(f"images of {min(sides)} pixels for {network}", expected=f"{smallest} pixels or more")
        if frozen > layers:
            raise ParameterError(f"frozen_layers = {frozen} for {network}", expected=f"-1 to {layers}, its layers")
        _check_weights(name, source, network, values.get("alpha", 1.0) if network == "MobileNet" else 1.0)


def _list_networks(values: dict[str, Any]) -> Iterator[tuple[str, str, str, int]]:
    """Yield each network, the parameter of its weights, these weights, and how many of its layers are frozen."""
    frozen, alpha = values.get("frozen_layers", -1), values.get("alpha", 1.0)
    for name in [name for name in values if name.endswith("weights") and "backbone" in values]:
        if name == "other_weights" and "other_backbone" in values:
            yield values["other_backbone"], name, values[name], 0
        elif alpha != 1 and values["backbone"] != "MobileNet":
            raise ParameterError(f"alpha = {alpha} for {values['backbone']}", expected="1.0; others for MobileNet only")
        elif values[name] or name != "compare_weights":  # which alone may be empty
            yield values["backbone"], name, values[name], frozen
    for name in ("compared_networks", "grid_networks"):
        if values.get(name) == []:
            raise ParameterError(f"{name} = []", expected="at least one network")
        for network in values.get(name, ()):
            start = "none" if values["weights"] == "sample" and network != "MobileNet" else values["weights"]
            yield network, "weights", start, 0 if start == "none" else frozen


def _check_weights(name: str, source: str, network: str, alpha: float) -> None:
    """Refuse weights that are known to be of another network or width; what is in a file is checked when it is loaded."""
    of, width = network, alpha
    if not source:
        raise ParameterError(f"{name} = ''", expected="imagenet, none, sample, run:PROFILE/TASK or a file")
    if source == "sample":
        of, width = "MobileNet", 0.25
    elif source == "imagenet":
        width = alpha if alpha in WIDTHS else 1.0
    elif source.startswith("run:"):
        path = project_root().joinpath("reports", *source.removeprefix("run:").split("/"), "model", "card.json")
        try:
            card = read_json(path)
            entry = card if "network" in card else card["models"]["model"]
            of, width = entry["network"], entry.get("alpha", alpha)
        except (TypeError, KeyError, AttributeError):
            raise ParameterError(f"{name} = {source!r}: {path}", expected="a card that names the network") from None
    elif source.endswith((".pth", ".pt", ".safetensors")):
        of = "ResNet18"
    else:
        of = {file.path: file.network for file in read_manifest("weights").files}.get(Path(source).name, network)
    if (of, width) != (network, alpha):
        wanted, found = (f"{of} of width {w}" if of == "MobileNet" else of for of, w in ((network, alpha), (of, width)))
        raise ParameterError(f"{name} = {source!r}, weights of {found}", expected=f"those of {wanted}")
