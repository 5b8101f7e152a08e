"""ResNet18, which keras.applications does not have, and its published PyTorch weights, read without PyTorch.

Keras' padding "same" would shift strided convolutions by one pixel, and its BatchNormalization has another epsilon. A .pth file
is a pickle, whose loading runs any function that it names: this unpickler knows tensors, storages, ordered dictionaries alone.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path

import keras
import numpy as np
from keras import layers
from safetensors.numpy import load_file

from facekit.errors import WeightsError


def build_resnet18(input_tensor, include_top: bool = False, weights: None = None) -> keras.Model:
    """Build ResNet18 laid out as torchvision's, always without top and weights; called like those of keras.applications.

    A layer's name is its path in torchvision with `_` for `.`, so `layer4.0.conv1` is `layer4_0_conv1`.

    Source: He et al., Deep residual learning for image recognition, https://arxiv.org/abs/1512.03385.
    """
    x = layers.ReLU(name="relu")(_convolve(input_tensor, 64, 7, 2, "conv1", "bn1"))
    # Zeros stand in for PyTorch's minus infinity: nothing is below zero after the ReLU.
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        x = _add_block(x, filters, 1 if stage == 1 else 2, f"layer{stage}_0")
        x = _add_block(x, filters, 1, f"layer{stage}_1")
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name="resnet18")


def _add_block(x, filters: int, stride: int, name: str):
    shortcut = x
    x = layers.ReLU(name=f"{name}_relu1")(_convolve(x, filters, 3, stride, f"{name}_conv1", f"{name}_bn1"))
    x = _convolve(x, filters, 3, 1, f"{name}_conv2", f"{name}_bn2")
    if stride != 1:
        shortcut = _convolve(shortcut, filters, 1, stride, f"{name}_downsample_0", f"{name}_downsample_1")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _convolve(x, filters: int, kernel: int, stride: int, name: str, norm: str):
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    # A new initializer for each layer: one that is shared draws the same numbers again.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    x = layers.Conv2D(filters, kernel, stride, use_bias=False, kernel_initializer=initializer, name=name)(x)
    return layers.BatchNormalization(epsilon=1e-5, name=norm)(x)


def name_layers(state: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
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
