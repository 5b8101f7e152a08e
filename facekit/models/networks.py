"""Every network that a run will build, checked before it starts and without TensorFlow, which takes ten seconds to load."""

from collections.abc import Iterator, Sequence
from typing import Any

from facekit.errors import FacekitError, ParameterError
from facekit.models.weight_files import find_file, open_layers, read_card

# Smallest side in pixels, number of layers as keras.applications lists them, and an early layer that no other network has, with
# its channels at full width; a test compares all with what is built.
NETWORKS = {
    "MobileNet": (32, 86, "conv_pw_1", 64),
    "ResNet18": (32, 85, "layer1_0_conv1", 64),
    "ResNet50": (32, 175, "conv2_block1_3_conv", 256),
    "InceptionV3": (75, 311, "conv2d_3", 80),
    "DenseNet121": (32, 427, "conv2_block4_1_bn", 128),
}
WIDTHS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # of MobileNets trained on ImageNet, as their files name them


def check_networks(values: dict[str, Any]) -> None:
    """Refuse a network that cannot be built from a run's parameters; ParameterError names the first parameter that is wrong."""
    size = values.get("input_size", 0)
    if isinstance(size, list) and len(size) != 2:
        raise ParameterError(f"input_size = {size}", expected="height and width")
    sides = size if isinstance(size, list) else [size]
    sides = [side for side in (*sides, *map(values.get, ("input_height", "input_width", "claim_size"))) if side]
    for network, name, source, frozen in _list_networks(values):
        alpha = values.get("alpha", 1.0) if network in ("MobileNet", values.get("backbone")) else 1.0
        if network in NETWORKS:  # one of your own is checked when it is built
            check_network(network, sides, alpha, frozen)
        _check_weights(name, source, network, alpha)


def check_network(name: str, sides: Sequence[int], alpha: float = 1.0, frozen: int = 0) -> None:
    """Refuse sides of an image in pixels, a width, or a number of frozen layers that a network cannot have; ParameterError."""
    if name not in NETWORKS:
        raise ParameterError(f"backbone {name!r}", expected=f"one of {', '.join(NETWORKS)}")
    if alpha != 1 and name != "MobileNet":
        raise ParameterError(f"alpha = {alpha} for {name}", expected="1.0; others for MobileNet only")
    smallest, layers, *_ = NETWORKS[name]
    if min(sides, default=smallest) < smallest:
        raise ParameterError(f"images of {min(sides)} pixels for {name}", expected=f"{smallest} pixels or more")
    if not -1 <= frozen <= layers:
        raise ParameterError(f"frozen_layers = {frozen} for {name}", expected=f"-1 to {layers}, its layers")


def _list_networks(values: dict[str, Any]) -> Iterator[tuple[str, str, str, int]]:
    """Yield each network, the parameter of its weights, these weights, and how many of its layers are frozen."""
    frozen, named = values.get("frozen_layers", -1), {f"{network.lower()}_weights": network for network in NETWORKS}
    for name in [name for name in values if name.endswith("weights")]:
        own = named.get(name) or values.get(name.replace("weights", "backbone"))
        if values[name] or name not in ("compare_weights", *named):  # which alone may be empty
            network = own or values.get("backbone", "one of your own")
            yield network, name, values[name], 0 if own and name != "weights" else frozen
    for network in [*values.get("compared_networks", ()), *values.get("grid_networks", ())]:
        name = name if values.get(name := f"{network.lower()}_weights") else "weights"
        yield network, name, values[name], 0 if values[name] == "none" else frozen


def _check_weights(name: str, source: str, network: str, alpha: float) -> None:
    """Refuse weights that must not be loaded, or are of another network or width, as an early layer shows."""
    if source == "imagenet" and alpha not in WIDTHS:
        raise ParameterError(f"{name} = 'imagenet' with alpha = {alpha}", expected=f"one of {', '.join(map(str, WIDTHS))}")
    try:
        if not (path := find_file(source)) or network not in NETWORKS:
            return
        with open_layers(path, read_card(path)["sha256"] if source.startswith("run:") else None) as found:
            sizes = {each: max(found[layer][0].shape, default=0) for each, (*_, layer, _) in NETWORKS.items() if layer in found}
    except FacekitError as error:
        raise ParameterError(f"{name} = {source!r}: {error}") from None
    if sizes.get(network) != int(NETWORKS[network][3] * alpha):
        known = ", ".join(f"{each} of width {size / NETWORKS[each][3]:g}" for each, size in sizes.items())
        received = f"{name} = {source!r}, weights of {known or 'another network'}"
        raise ParameterError(received, expected=f"those of {network} of width {alpha:g}")
