"""Weights files, checked before anything is loaded, and read layer by layer.

A hostile one could make its reader open other files (links, external and virtual datasets), recurse without end, or take more
memory than the network needs. A .pth file is a pickle, whose loading runs any function that it names: the unpickler here knows
tensors, storages and ordered dictionaries alone.
"""

import contextlib
import io
import math
import os
import pickle
import re
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file

from facekit.data.manifests import read_manifest
from facekit.errors import WeightsError
from facekit.paths import hash_file

TORCH = (".pth", ".pt", ".safetensors")  # suffixes of PyTorch's files
_DAMAGED = "damaged or another file: get it again"
_DEEPEST = 12  # groups in groups; Keras' files have six
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
        raise WeightsError(f"{path}: sha256 {received}", expected=expected, hint=_DAMAGED)


@contextlib.contextmanager
def open_checked(path: Path, sha256: str | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 file, or the one inside a .keras file; WeightsError where it is damaged, hostile or not of `sha256`."""
    check_digest(path, sha256)
    whole, source = path.suffix == ".keras", path
    try:
        if whole:
            with zipfile.ZipFile(path) as archive:
                # Keras compresses none, and what is not compressed takes no more memory than the file is long.
                if packed := [each.filename for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]:
                    raise ValueError(f"{packed[0]} is compressed")
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            if fault := _find_fault(file):
                raise WeightsError(f"{path}: {fault}", expected="weights inside the file itself")
            yield file
    except UNREADABLE as error:
        expected = f"a {'.keras' if whole else '.weights.h5'} file"
        raise WeightsError(f"{path}: cannot be read ({error})", expected=expected, hint=_DAMAGED) from error


def _find_fault(file: h5py.File) -> str:
    groups, seen = [file], set()
    for group in groups:  # which grows by those within
        for key in group:
            name, link = f"{group.name}/{key}".lstrip("/"), group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                return f"{name!r} is a {type(link).__name__}"
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if name.count("/") == _DEEPEST or address in seen:
                return f"{name!r} is {'reached twice' if address in seen else 'nested too deep'}"
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif item.external or item.is_virtual:
                return f"{name!r} is {'an external' if item.external else 'a virtual'} dataset"
    return ""


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


def read_weights(path: Path, shapes: dict, *, sha256: str | None = None, inside: bool = False) -> dict[str, list[np.ndarray]]:
    """Read layer name -> float32 arrays, of all layers of a network or of its first ones.

    Args:
        path: file of Keras 3 (.weights.h5 or .keras), keras.applications (.h5) or PyTorch.
        shapes: layer name -> shapes of its weights, of list_shapes.
        sha256: of the file, where it is known.
        inside: the network is a part of a larger one in the file, and all of it is there.

    Raises:
        WeightsError: damaged, hostile, of another network or another width, with a gap, or with numbers that are not finite.
    """
    if path.suffix in TORCH:
        check_digest(path, sha256)
        return _take_layers(path, _name_layers(read_torch_file(path)), shapes)
    with open_checked(path, sha256) as file:
        found = _find_layers(path, file)
        fresh = number_names(found)
        return _take_layers(path, {fresh[name]: items for name, items in found.items()}, shapes, inside=inside)


def _take_layers(path: Path, found: dict, shapes: dict, *, inside: bool = False) -> dict[str, list[np.ndarray]]:
    """Compare names, shapes and types with those of the network, before the first number of the datasets in `found` is read."""
    names, missing = list(shapes), [name for name in shapes if name not in found]
    further = [] if inside else [name for name in found if name not in shapes]
    first = names[: len(names) - len(missing)]
    if further or (missing and (inside or not first or missing[0] in first)):
        what = f"none for {len(missing)} layers" if missing else f"{len(further)} unknown layers"
        received = f"{path}: weights of another network, with {what}, such as {(missing or further)[0]!r}"
        expected = f"{len(names)} layers from {names[0]!r} on, or the first of them without a gap"
        raise WeightsError(received, expected=expected)
    for name in first:
        if (received := [tuple(item.shape) for item in found[name]]) != shapes[name]:
            text, wanted = (", ".join("x".join(map(str, shape)) for shape in each) for each in (received, shapes[name]))
            received = f"{path}: layer {name!r} has weights of shape {text}"
            raise WeightsError(received, expected=wanted, hint="choose the network and width of the file")
        if other := [item.dtype for item in found[name] if item.dtype.kind != "f"]:
            raise WeightsError(f"{path}: layer {name!r} holds {other[0]}", expected="floating point numbers")
    arrays = {name: [item[()].astype(np.float32) for item in found[name]] for name in first}
    for name, values in arrays.items():
        if not all(np.isfinite(value).all() for value in values):
            raise WeightsError(f"{path}: layer {name!r} holds numbers that are not finite", expected="trained weights")
    return arrays


def _find_layers(path: Path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    if "layer_names" in file.attrs:  # the layout of keras.applications, where older files hold names as bytes
        groups = {os.fsdecode(name): file[name] for name in file.attrs["layer_names"]}
        found = {name: [group[weight] for weight in group.attrs["weight_names"]] for name, group in groups.items()}
        return {name: items for name, items in found.items() if items}
    found = {}
    for key, group in file["layers"].items():
        if len(variables := group.get("vars", {})):
            if "name" not in variables.attrs:
                raise WeightsError(f"{path}: {key!r} without a layer name", expected="a file of Keras 3.15 or later")
            found[str(variables.attrs["name"])] = [variables[str(position)] for position in range(len(variables))]
    return found


def _name_layers(state: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Turn torchvision's parameters (name -> array) into layer name -> arrays in Keras' order of weights and axes."""
    found = {}
    for key, array in state.items():
        layer, _, part = key.rpartition(".")
        if layer != "fc" and part != "num_batches_tracked":
            # PyTorch's axes of a convolution: output, input, height, width.
            found.setdefault(layer.replace(".", "_"), {})[part] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    order = ("weight", "bias", "running_mean", "running_var")
    return {name: [*(parts.pop(part) for part in order if part in parts), *parts.values()] for name, parts in found.items()}


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Read parameter name -> array from a .pth file (as PyTorch 1.6 or later saves it) or a .safetensors file.

    Raises:
        WeightsError: damaged, or it names anything but tensors.
    """
    expected = "a state dictionary of tensors and nothing else, saved by PyTorch 1.6 or later"
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_zip(path)
    # A broken pickle can raise nearly anything; none of it is worth a traceback.
    except Exception as error:
        raise WeightsError(f"{path}: {error}", expected=expected) from error
    if not isinstance(state, dict) or not all(isinstance(value, np.ndarray) for value in state.values()):
        raise WeightsError(f"{path}: {type(state).__name__}", expected=expected)
    return dict(state)


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise pickle.UnpicklingError("not as torch.save writes it")
        return _TensorUnpickler(archive, pickles[0]).load()


def _rebuild_tensor(storage, offset, size, stride, *_):
    """Stand in for torch's function of this name: a contiguous view of a storage, or nothing."""
    contiguous = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    # PyTorch keeps any stride for an axis of length 1.
    if any(a != b for a, b, length in zip(stride, contiguous, size, strict=True) if length > 1):
        raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} with strides {tuple(stride)}")
    end = offset + math.prod(size)
    if offset < 0 or min(size, default=0) < 0 or end > len(storage):
        raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} in a storage of {len(storage)}")
    return storage[offset:end].reshape(size)


_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}
_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
} | {("torch", name): np.dtype(code) for name, code in _STORAGES.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Refuses every name that is not in _KNOWN."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        super().__init__(io.BytesIO(archive.read(name)))
        self._read = cache(lambda key: archive.read(f"{name.removesuffix('data.pkl')}data/{key}"))

    def find_class(self, module, name):
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid):
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it names a stored {kind!r}")
        return np.frombuffer(self._read(key), dtype)
