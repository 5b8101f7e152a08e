"""Weights files, checked before anything is loaded, and read layer by layer.

The trap this prevents: a file that makes its reader open other files (links, external and virtual datasets), recurse without
end, or ask for more memory than the network has.
"""

import json
import re
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np

from facekit.data.manifests import read_manifest
from facekit.errors import WeightsError
from facekit.paths import hash_file

_DEEPEST = 12  # groups in groups; Keras' files have six
_LARGEST = 1 << 31  # bytes of a .keras file's member
# Names that Keras counts up over a whole session, so that the same network is called otherwise the second time.
_COUNTED = re.compile(
    r"(activation|average_pooling2d|batch_normalization|concatenate|conv2d|get_item|max_pooling2d|zero_padding2d)(?:_(\d+))?"
)
# What is raised for a file that is damaged or made to confuse.
UNREADABLE = (OSError, RuntimeError, SystemError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile)


def check_digest(path: Path, sha256: str | None = None) -> None:
    """Compare a file with `sha256`, else with SHA256SUMS in its folder and data_manifests/weights.yaml, where they know it."""
    known = {file.path: file.sha256 for file in read_manifest("weights").files if file.sha256}
    sums = path.with_name("SHA256SUMS")
    for line in sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else ():
        digest, _, name = line.partition(" ")
        known[name.lstrip(" *")] = digest
    expected = sha256 or known.get(path.name)
    if expected and (received := hash_file(path)) != expected.lower():
        raise WeightsError(f"{path}: sha256 {received}", expected=expected, hint="damaged or another file: get it again")


def check_file(path: Path, sha256: str | None = None) -> None:
    """Refuse an HDF5 file that could make its reader open anything else or recurse without end; nothing is loaded."""
    check_digest(path, sha256)
    try:
        with h5py.File(path, "r") as file:
            fault = _find_fault(file)
    except UNREADABLE as error:
        raise WeightsError(f"{path}: not a readable HDF5 file ({error})", expected="a .weights.h5 file") from error
    if fault:
        raise WeightsError(f"{path}: {fault}", expected="weights inside the file itself")


def check_keras(path: Path, sha256: str | None = None) -> dict:
    """Check a .keras file as check_file does, before Keras opens it, and return its configuration."""
    check_digest(path, sha256)
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            if any(member.file_size > _LARGEST for member in archive.infolist()):
                raise ValueError("too large a member")
            config = json.loads(archive.read("config.json"))
            check_file(Path(archive.extract("model.weights.h5", folder)))
            return config["config"]
    except UNREADABLE as error:
        raise WeightsError(f"{path}: {error}", expected="a .keras file") from error


def _find_fault(file: h5py.File) -> str | None:
    groups, seen = [("", file, 0)], set()
    while groups:
        prefix, group, depth = groups.pop()
        for key in group:
            name, link = prefix + key, group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                return f"{name!r} is a {type(link).__name__}"
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if depth == _DEEPEST or address in seen:
                return f"{name!r} is {'nested too deep' if depth == _DEEPEST else 'reached twice'}"
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append((f"{name}/", item, depth + 1))
            elif item.external or item.is_virtual:
                return f"{name!r} is {'an external' if item.external else 'a virtual'} dataset"
    return None


def number_names(names) -> dict[str, str]:
    """Map names that Keras counted up in a long session to those of a fresh one.

    InceptionV3 leaves most of its layers to this counting, so the second one built is called otherwise than the first.

    >>> number_names(["conv2d_94", "conv2d_95", "mixed0", "activation_7"])
    {'conv2d_94': 'conv2d', 'conv2d_95': 'conv2d_1', 'mixed0': 'mixed0', 'activation_7': 'activation'}
    """
    counted, fresh = defaultdict(list), {name: name for name in names}
    for name in fresh:
        if match := _COUNTED.fullmatch(name):
            counted[match[1]].append((int(match[2] or 0), name))
    for prefix, found in counted.items():
        fresh |= {name: f"{prefix}_{rank}" if rank else prefix for rank, (_, name) in enumerate(sorted(found))}
    return fresh


def list_shapes(layers) -> dict[str, list[tuple]]:
    """Return layer name -> shapes of its weights, for the Keras layers that have any."""
    return {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in layers if layer.weights}


def read_weights(path, shapes: dict[str, list[tuple]], *, partial: bool = False) -> dict[str, list[np.ndarray]]:
    """Read the weights of known layers, layer name -> float32 arrays, from a file that check_file has let pass.

    Names, shapes and types are compared before the first number is read.

    Args:
        path: a file as Keras 3 writes it.
        shapes: layer name -> shapes of its weights, of list_shapes.
        partial: the file may hold further layers (a whole model of which the backbone is wanted).

    Raises:
        WeightsError: another network or another width, or numbers that are not finite.
    """
    try:
        with h5py.File(path, "r") as file:
            found = _find_layers(path, file)
            _compare_layers(path, {name: [item.shape for item in items] for name, items in found.items()}, shapes, partial)
            arrays = {name: [item[()].astype(np.float32) for item in found[name]] for name in shapes}
    except UNREADABLE as error:
        raise WeightsError(f"{path}: cannot be read ({error})", expected="a .weights.h5 file") from error
    for name, values in arrays.items():
        if not all(np.isfinite(value).all() for value in values):
            raise WeightsError(f"{path}: layer {name!r} holds numbers that are not finite", expected="trained weights")
    return arrays


def _find_layers(path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    if "layers" not in file:
        hint = "files in the older layout of keras.applications are found by weights=imagenet"
        raise WeightsError(f"{path}: no group 'layers'", expected="a .weights.h5 file as Keras 3 writes it", hint=hint)
    found = {}
    for key, group in file["layers"].items():
        if not len(variables := group.get("vars", {})):
            continue
        if "name" not in variables.attrs:
            raise WeightsError(f"{path}: {key!r} without a layer name", expected="a .weights.h5 file of Keras 3.15 or later")
        items = [variables[str(position)] for position in range(len(variables))]
        if any(item.dtype.kind != "f" for item in items):
            raise WeightsError(f"{path}: {key!r} holds {items[0].dtype}", expected="floating point numbers")
        found[str(variables.attrs["name"])] = items
    fresh = number_names(found)
    return {fresh[name]: items for name, items in found.items()}


def _compare_layers(path, found: dict[str, list], shapes: dict[str, list], partial: bool) -> None:
    missing = [name for name in shapes if name not in found]
    further = [] if partial else [name for name in found if name not in shapes]
    if missing or further:
        what = f"none for {len(missing)} layers" if missing else f"{len(further)} unknown layers"
        received = f"{path}: weights of another network, with {what}, such as {(missing or further)[0]!r}"
        raise WeightsError(received, expected=f"{len(shapes)} layers from {next(iter(shapes))!r} on")
    for name, expected in shapes.items():
        if [tuple(shape) for shape in found[name]] != expected:
            text, wanted = (", ".join("x".join(map(str, shape)) for shape in each) for each in (found[name], expected))
            received = f"{path}: layer {name!r} has weights of shape {text}"
            raise WeightsError(received, expected=wanted, hint="choose the network and width of the file")
