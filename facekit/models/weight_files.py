"""Weights files: found, checked before anything is loaded, and read layer by layer; without TensorFlow.

A hostile one could make its reader open other files (links, external and virtual datasets), recurse without end, or take more
memory than the network needs. A .pth file is a pickle, whose loading runs any function that it names: the unpickler here knows
tensors, storages and ordered dictionaries alone.
"""

import contextlib
import io
import os
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file

from facekit.data.manifests import read_manifest
from facekit.errors import WeightsError
from facekit.paths import hash_file, project_root, read_json, resolve

SAMPLE_FILE = Path(__file__).with_name("mobilenet_0.25_synthetic.weights.h5")
BACKBONE_NAME, CARD_NAME = "backbone.weights.h5", "card.json"
TORCH = (".pth", ".pt", ".safetensors")  # suffixes of PyTorch's files
_DAMAGED = "damaged or another file: get it again"
_DEEPEST = 12  # groups in groups; Keras' files have six
# Names that Keras counts up over a whole session, so that the same network is called otherwise the second time.
_COUNTED = re.compile(
    r"(activation|average_pooling2d|batch_normalization|concatenate|conv2d|get_item|max_pooling2d|zero_padding2d)(?:_(\d+))?"
)
# What is raised for a file that is damaged or made to confuse.
UNREADABLE = (OSError, RuntimeError, SystemError, LookupError, TypeError, ValueError, AttributeError, zipfile.BadZipFile)


def find_file(source: str) -> Path | None:
    """Return the file of weights as weights.load_weights names them, None for `none` and `imagenet`; WeightsError: no file."""
    if source in ("none", "imagenet"):
        return None
    path, hint = SAMPLE_FILE if source == "sample" else resolve(source), ""
    if run := re.fullmatch(r"run:([a-z0-9-]+)/([a-z0-9-]+)", source):
        path = project_root().joinpath("reports", *run.groups(), "model", BACKBONE_NAME)
        hint = f"make {run[2]} PROFILE={run[1]}"
    if not path.is_file():
        expected = "imagenet, none, sample, run:PROFILE/TASK of a run that saved its backbone, as celeba's do, or a file"
        raise WeightsError(f"{path} is no file", expected=expected, hint=hint)
    return path


def read_card(path: Path) -> dict:
    """Return the card of a run's backbone: network, alpha, preprocessing and sha256; FacekitError where it lacks one."""
    card = read_json(path.with_name(CARD_NAME))
    if not isinstance(card, dict) or not {"network", "alpha", "preprocessing", "sha256"} <= card.keys():
        raise WeightsError(str(path.with_name(CARD_NAME)), expected="network, alpha, preprocessing and sha256 of a backbone")
    return card


def check_digest(path: Path, sha256: str | None = None) -> None:
    """Compare a file with `sha256`, else with SHA256SUMS in its folder and data_manifests/weights.yaml, where they know it."""
    sums = path.with_name("SHA256SUMS")
    text = sums.read_text(encoding="utf-8", errors="replace") if sums.is_file() else ""
    known = {file.path: file.sha256 for file in read_manifest("weights").files if file.sha256}
    known |= {name: digest for digest, name in re.findall(r"^(\w{64}) [ *](.+)$", text, re.MULTILINE)}
    expected = str(sha256 or known.get(path.name, "")).lower()
    if expected and (received := hash_file(path)) != expected:
        raise WeightsError(f"{path}: sha256 {received}", expected=expected, hint=_DAMAGED)


@contextlib.contextmanager
def open_checked(path: Path, sha256: str | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 file, or the one inside a .keras file; WeightsError where it is damaged, hostile or not of `sha256`."""
    check_digest(path, sha256)
    source = path
    try:
        if path.suffix == ".keras":
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
        expected = "a .h5 or .keras file of Keras 3.15 or later"
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
                continue
            plan = item.id.get_create_plist()
            filters = {plan.get_filter(position)[0] for position in range(plan.get_nfilters())}
            faults = {
                "an external dataset": item.external,
                "a virtual dataset": item.is_virtual,
                "no dataset of plain numbers": item.dtype.kind not in "fiu",
                # HDF5's other filters have had overflows, such as CVE-2025-2308.
                "packed by a filter other than gzip and shuffle": filters - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE},
            }
            if found := [fault for fault, is_so in faults.items() if is_so]:
                return f"{name!r} is {found[0]}"
    return ""


def number_names(names) -> dict[str, str]:
    """Map names that Keras counted up in a long session to those of a fresh one.

    InceptionV3 leaves most of its layers to this counting, so the second one built is called otherwise than the first.

    >>> number_names(["conv2d_94", "conv2d_95", "mixed0", "activation_7"])
    {'conv2d_94': 'conv2d', 'conv2d_95': 'conv2d_1', 'mixed0': 'mixed0', 'activation_7': 'activation'}
    """
    fresh, ranks = {name: name for name in names}, Counter()
    matches = filter(None, map(_COUNTED.fullmatch, fresh))
    for name, prefix, _ in sorted(((m[0], m[1], int(m[2] or 0)) for m in matches), key=lambda counted: counted[2]):
        fresh[name] = f"{prefix}_{ranks[prefix]}" if ranks[prefix] else prefix
        ranks[prefix] += 1
    return fresh


@contextlib.contextmanager
def open_layers(path: Path, sha256: str | None = None) -> Iterator[dict[str, list]]:
    """Yield layer name -> its datasets or arrays in a file of read_weights; WeightsError as in open_checked."""
    if path.suffix in TORCH:
        check_digest(path, sha256)
        yield _name_layers(read_torch_file(path))
    else:
        with open_checked(path, sha256) as file:
            found = _find_layers(file)
            fresh = number_names(found)
            yield {fresh[name]: items for name, items in found.items()}


def read_weights(path: Path, layers: list, sha256: str | None = None) -> dict[str, list[np.ndarray]]:
    """Read layer name -> float32 arrays, of all layers of a network or of its first ones.

    Names, shapes and types are compared with those of the network before the first number is read. WeightsError: damaged,
    hostile, of another network or another width, with a gap, or with numbers that are not finite.

    Args:
        path: file of Keras 3 (.weights.h5 or .keras), keras.applications (.h5) or PyTorch.
        layers: of the Keras model.
        sha256: of the file, where it is known.
    """
    shapes = {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in layers if layer.weights}
    with open_layers(path, sha256) as found:
        names, first = list(shapes), [name for name in shapes if name in found]
        if not first or first != names[: len(first)] or len(first) < len(found):
            odd = next(name for name in [*found, *names] if (name in found) != (name in shapes))
            expected = f"{len(names)} layers from {names[0]!r} on, or the first of them without a gap"
            raise WeightsError(f"{path}: weights of another network, which differ in layer {odd!r}", expected=expected)
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


def _find_layers(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    if "layer_names" in file.attrs:  # the layout of keras.applications, where older files hold names as bytes
        groups = {os.fsdecode(name): file[name] for name in file.attrs["layer_names"]}
        found = {name: [group[weight] for weight in group.attrs["weight_names"]] for name, group in groups.items()}
        return {name: items for name, items in found.items() if items}
    groups = [group["vars"] for group in file["layers"].values() if len(group.get("vars", ()))]
    return {str(group.attrs["name"]): [group[str(position)] for position in range(len(group))] for group in groups}


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
    """Read parameter name -> array from a .pth or .safetensors file; WeightsError: damaged, or it names more than tensors."""
    expected = "a state dictionary of tensors and nothing else, saved by PyTorch 1.6 or later"
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_zip(path)
    # A broken pickle can raise nearly anything; none of it is worth a traceback.
    except Exception as error:
        raise WeightsError(f"{path}: {error}", expected=expected) from error
    if not isinstance(state, dict) or any((type(k), type(v)) != (str, np.ndarray) for k, v in state.items()):
        raise WeightsError(f"{path}: {type(state).__name__}", expected=expected)
    return dict(state)


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise pickle.UnpicklingError("not as torch.save writes it")
        unpickler = _TensorUnpickler(io.BytesIO(archive.read(pickles[0])))
        # One copy of a storage, however often it is named.
        unpickler.read = cache(lambda key: archive.read(f"{pickles[0].removesuffix('data.pkl')}data/{key}"))
        return unpickler.load()


def _rebuild_tensor(storage, offset, size, stride, *_):
    """Stand in for torch's function of this name: a view of a storage, and of nothing outside it."""
    # Computed with Python's numbers, since numpy's own check overflows.
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min([offset, *size, *stride]) < 0 or last >= len(storage):
        raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} in a storage of {len(storage)}")
    return np.ndarray(size, storage.dtype, storage, offset * storage.itemsize, [step * storage.itemsize for step in stride])


_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}
_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
} | {("torch", name): np.dtype(code) for name, code in _STORAGES.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Refuses every name that is not in _KNOWN."""

    def find_class(self, module, name):
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid):
        _, dtype, key, *_ = pid
        return np.frombuffer(self.read(key), dtype)
