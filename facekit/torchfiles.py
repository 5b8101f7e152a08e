"""PyTorch's weights files, read without PyTorch and without running what they say.

The trap this prevents: a .pth file is a pickle, and loading a pickle runs any function that it names. Here the
unpickler knows tensors, storages and ordered dictionaries; any other name is refused.
"""

import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from facekit.errors import WeightsError

# torch's storage classes: what each element is.
_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
_MAGIC = 0x1950A86A20F9469CFC6C  # first object of the layout before PyTorch 1.6
_LARGEST = 1 << 30  # bytes; ResNet18 has 47 million


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a state dictionary from a .pth file (either layout of torch.save) or a .safetensors file.

    Args:
        path: the file.

    Returns:
        Parameter name -> array.

    Raises:
        WeightsError: missing, too large, damaged, or it names anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file", mend="correct the path of the weights")
    if path.stat().st_size > _LARGEST:
        raise WeightsError(f"{path}: {path.stat().st_size} bytes", expected=f"at most {_LARGEST}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except WeightsError:
        raise
    # A broken pickle can raise nearly anything; none of it is worth a traceback.
    except (Exception, SafetensorError) as error:
        raise WeightsError(f"{path}: {error}", expected="a state dictionary of tensors and nothing else") from error
    if not isinstance(state, dict) or not all(isinstance(v, np.ndarray) for v in state.values()):
        raise WeightsError(f"{path}: {type(state).__name__}", expected="a state dictionary of tensors and nothing else")
    return dict(state)


class _Later:
    """A storage whose numbers stand behind the pickle (the older layout): filled in when they have been read."""

    def __init__(self, dtype: np.dtype, count: int):
        self.dtype, self.count, self.values = np.dtype(dtype), count, None


class _TensorUnpickler(pickle.Unpickler):
    """Knows tensors, storages and ordered dictionaries, and no other name."""

    def __init__(self, file, find_storage):
        super().__init__(file)
        self._find_storage = find_storage

    def find_class(self, module, name):
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid):
        kind, dtype, key, _, count, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it names a stored {kind!r}")
        return self._find_storage(str(key), dtype, int(count))


def _rebuild_tensor(storage, offset, size, stride, *_):
    """Stand in for torch's function of this name: a contiguous view of a storage, or nothing."""
    contiguous = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    # PyTorch keeps any stride for an axis of length 1.
    if any(a != b for a, b, length in zip(stride, contiguous, size, strict=True) if length > 1):
        raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} with strides {tuple(stride)}")
    end = offset + math.prod(size)
    length = storage.count if isinstance(storage, _Later) else len(storage)
    if offset < 0 or min(size, default=0) < 0 or end > length:
        raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} in a storage of {length}")
    if isinstance(storage, _Later):
        return lambda: storage.values[offset:end].reshape(size)
    return storage[offset:end].reshape(size)


def _rebuild_parameter(data, *_):
    return data


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise pickle.UnpicklingError("not as torch.save writes it")
        folder = pickles[0].removesuffix("data.pkl")
        if folder + "byteorder" in entries and archive.read(folder + "byteorder") != b"little":
            raise pickle.UnpicklingError("written in big-endian byte order")

        @cache
        def find_storage(key, dtype, count):
            values = np.frombuffer(archive.read(f"{folder}data/{key}"), dtype.newbyteorder("<"))
            if len(values) != count:
                raise pickle.UnpicklingError(f"storage {key} holds {len(values)} numbers, not {count}")
            return values

        return _TensorUnpickler(io.BytesIO(archive.read(pickles[0])), find_storage).load()


def _read_legacy(path: Path):
    storages: dict[str, _Later] = {}

    def find_storage(key, dtype, count):
        return storages.setdefault(key, _Later(dtype, count))

    with open(path, "rb") as file:

        def load():
            return _TensorUnpickler(file, find_storage).load()

        if load() != _MAGIC:
            raise pickle.UnpicklingError("not as torch.save writes it")
        load()  # version of the protocol
        if not load().get("little_endian", False):
            raise pickle.UnpicklingError("written in big-endian byte order")
        state, keys = load(), load()
        for key in keys:
            storage = storages[str(key)]
            count = int.from_bytes(file.read(8), "little")
            data = file.read(storage.count * storage.dtype.itemsize)
            if count != storage.count:
                raise pickle.UnpicklingError(f"storage {key} holds {count} numbers, not {storage.count}")
            storage.values = np.frombuffer(data, storage.dtype.newbyteorder("<"), count)
    return {name: value() if callable(value) else value for name, value in state.items()}
