"""Weights files in HDF5: checked before anything is loaded, read by layer, and put into a network all or nothing.

The traps this prevents: a file that makes the reader open other files (links, external and virtual datasets), weights
of another network or width that go in half way, and layers that are matched by position though their names differ.
"""

import hashlib
import json
import os
import re
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np

from facekit.errors import WeightsError
from facekit.manifests import load_manifest

SCHEMA = 1
WEIGHTS_NAME = "weights.weights.h5"
SPEC_NAME = "spec.json"
# Names that Keras counts up over a whole session, so that the same network is called otherwise the second time.
_COUNTED = re.compile(
    r"(activation|average_pooling2d|batch_normalization|concatenate|conv2d|max_pooling2d|zero_padding2d)(?:_(\d+))?"
)
# What h5py raises for a file that is damaged or made to confuse.
_UNREADABLE = (OSError, RuntimeError, SystemError, KeyError, TypeError, ValueError, AttributeError)


def hash_file(path: str | os.PathLike) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_digest(path: str | os.PathLike) -> str | None:
    """Return the sha256 that a file must have, or None where nobody has written it down.

    Args:
        path: the file; looked up in SHA256SUMS in its folder, then by its name in data_manifests/weights.yaml.
    """
    path = Path(path)
    sums = path.with_name("SHA256SUMS")
    known = {file.path: file.sha256 for file in load_manifest("weights").files if file.sha256}
    if sums.is_file():
        for line in sums.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition(" ")
            known[name.lstrip(" *")] = digest
    return known.get(path.name)


def check_digest(path: str | os.PathLike, sha256: str | None = None) -> str:
    """Return a file's sha256 after comparing it with what is known about the file.

    Args:
        path: the file.
        sha256: what it must be, in hex; if not given, what find_digest knows, if anything.

    Raises:
        WeightsError: no such file, or another digest.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file", mend="correct the path of the weights")
    digest, known = hash_file(path), sha256 or find_digest(path)
    if known and digest != known.lower():
        raise WeightsError(f"{path}: sha256 {digest}", expected=known, mend="damaged or another file: get it again")
    return digest


def check_weights_file(path: str | os.PathLike, sha256: str | None = None) -> str:
    """Refuse an HDF5 file that could make its reader open anything else; nothing is loaded.

    Args:
        path: the file.
        sha256: what its digest must be; if not given, what find_digest knows, if anything.

    Returns:
        The file's sha256, in hex.

    Raises:
        WeightsError: missing, another digest, no HDF5, or with soft or external links, external or virtual datasets.
    """
    digest = check_digest(path, sha256)

    # What these return ends the visit; an exception would be lost in HDF5's own code.
    def describe_link(name, link):
        return None if isinstance(link, h5py.HardLink) else f"{name!r} is a {type(link).__name__}"

    def describe_storage(name, item):
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            return f"{name!r} is {'an external' if item.external else 'a virtual'} dataset"
        return None

    try:
        with h5py.File(path, "r") as file:
            outside = file.visititems_links(describe_link) or file.visititems(describe_storage)
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: not a readable HDF5 file ({error})", expected="a .weights.h5 file") from error
    if outside:
        raise WeightsError(f"{path}: {outside}", expected="weights inside the file itself")
    return digest


def number_names(names) -> dict[str, str]:
    """Map names that Keras counted up in a long session to those of a fresh one.

    InceptionV3 leaves most of its layers to this counting, so the second one built is called otherwise than the first.

    Args:
        names: layer names of one network.

    >>> number_names(["conv2d_94", "conv2d_95", "mixed0", "activation_7"])
    {'conv2d_94': 'conv2d', 'conv2d_95': 'conv2d_1', 'mixed0': 'mixed0', 'activation_7': 'activation'}
    """
    counted = defaultdict(list)
    for name in names:
        if match := _COUNTED.fullmatch(name):
            counted[match[1]].append((int(match[2] or 0), name))
    fresh = {name: name for name in names}
    for prefix, found in counted.items():
        fresh |= {name: f"{prefix}_{rank}" if rank else prefix for rank, (_, name) in enumerate(sorted(found))}
    return fresh


def read_weights_file(path: str | os.PathLike, shapes: dict[str, list[tuple]], *, partial: bool = False) -> dict[str, list]:
    """Read the weights of known layers from a file that check_weights_file has let pass.

    All names, shapes and types are compared before the first number is read, so that a file cannot ask for more memory
    than the network has.

    Args:
        path: a file as Keras 3 writes it.
        shapes: layer name -> shapes of its weights, in Keras' order.
        partial: the file may hold further layers (a whole model of which the backbone is wanted).

    Returns:
        Layer name -> list of float32 arrays.

    Raises:
        WeightsError: another network or another width, or numbers that are not finite.
    """
    try:
        with h5py.File(path, "r") as file:
            found = _find_layers(path, file)
            came = {name: [item.shape for item in items] for name, items in found.items()}
            _compare_layers(path, came, shapes, partial)
            arrays = {name: [item[()].astype(np.float32) for item in found[name]] for name in shapes}
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: cannot be read ({error})", expected="a .weights.h5 file") from error
    for name, values in arrays.items():
        if not all(np.isfinite(value).all() for value in values):
            raise WeightsError(f"{path}: layer {name!r} holds numbers that are not finite", expected="trained weights")
    return arrays


def _find_layers(path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    if "layers" not in file:
        mend = "files in the older layout of keras.applications are found by weights=imagenet"
        raise WeightsError(f"{path}: no group 'layers'", expected="a .weights.h5 file as Keras 3 writes it", mend=mend)
    found = {}
    for key, group in file["layers"].items():
        variables = group.get("vars", {})
        if not len(variables):
            continue
        if "name" not in variables.attrs:
            came = f"{path}: {key!r} without a layer name"
            raise WeightsError(came, expected="a .weights.h5 file of Keras 3.15 or later")
        items = [variables[str(position)] for position in range(len(variables))]
        if any(item.dtype.kind != "f" for item in items):
            raise WeightsError(f"{path}: {key!r} holds {items[0].dtype}", expected="floating point numbers")
        found[str(variables.attrs["name"])] = items
    fresh = number_names(found)
    return {fresh[name]: items for name, items in found.items()}


def _compare_layers(path, found: dict[str, list], shapes: dict[str, list], partial: bool) -> None:
    missing = [name for name in shapes if name not in found]
    further = [name for name in found if name not in shapes]
    wanted = f"{len(shapes)} layers from {next(iter(shapes))!r} on"
    if missing:
        came = f"{path}: weights of another network, with none for {len(missing)} layers, such as {missing[0]!r}"
        raise WeightsError(came, expected=wanted)
    if further and not partial:
        came = f"{path}: weights of another network, with {len(further)} unknown layers, such as {further[0]!r}"
        raise WeightsError(came, expected=wanted)
    for name, expected in shapes.items():
        if [tuple(shape) for shape in found[name]] != [tuple(shape) for shape in expected]:
            came = f"{path}: layer {name!r} has weights of shape {_list_shapes(found[name])}"
            raise WeightsError(came, expected=_list_shapes(expected), mend="choose the network and width of the file")


def _list_shapes(shapes) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def list_shapes(layers) -> dict[str, list[tuple]]:
    """Return layer name -> shapes of its weights, for the Keras layers that have any."""
    return {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in layers if layer.weights}


def assign_weights(layers, arrays: dict[str, list[np.ndarray]]) -> None:
    """Put arrays of read_weights_file into Keras layers of the same names and shapes."""
    for layer in layers:
        for variable, array in zip(layer.weights, arrays.get(layer.name, ()), strict=True):
            variable.assign(array)


def read_model_folder(folder: str | os.PathLike) -> tuple[dict, Path, str]:
    """Read the description of a saved model and check that its weights are the ones described.

    Args:
        folder: holds spec.json and weights.weights.h5, as models.save_model leaves them.

    Returns:
        The content of spec.json, the path of the weights, their sha256.

    Raises:
        WeightsError: something is missing, of a later version, or the weights are not those that spec.json names.
    """
    folder = Path(folder)
    path = folder / SPEC_NAME
    if not path.is_file():
        raise WeightsError(f"{path}: no such file", expected="a folder with a saved model")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, holds, sha256 = content["schema"], content["holds"], content["sha256"]
        _ = content["spec"]["backbone"], content["spec"]["alpha"], content["preprocessing"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        came = f"{path}: {type(error).__name__} {error}"
        raise WeightsError(came, expected="a model description as facekit writes it") from error
    if schema != SCHEMA or holds not in ("model", "backbone") or not isinstance(sha256, str):
        raise WeightsError(f"{path}: schema {schema}, holds {holds}", expected=f"schema {SCHEMA}, model or backbone")
    return content, folder / WEIGHTS_NAME, check_weights_file(folder / WEIGHTS_NAME, sha256)
