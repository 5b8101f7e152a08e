"""Backbones: networks without their classifier, one table row each.

Preprocessing is inside, so it can't be that of another network; the graph is flat, so layers can be frozen and looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from facekit.errors import ParameterError
from facekit.models import weights as weights_files
from facekit.models.networks import NETWORKS
from facekit.models.small_networks import build_resnet18
from facekit.models.weight_files import number_names

PREFIX = "preprocess_"  # of the names of the preprocessing's layers
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1


def _scale(images, factor: float = 1 / 255, offset: float = 0.0):
    return layers.Rescaling(factor, offset, name=f"{PREFIX}scale", dtype="float32")(images)


def _standardize(images, means, deviations):
    variances = [deviation**2 for deviation in deviations]
    return layers.Normalization(mean=list(means), variance=variances, name=f"{PREFIX}standardize", dtype="float32")(images)


# From RGB images in 0..255 to what a network takes; computed in 32 bits under mixed precision too.
_PREPROCESSING = {
    "caffe": lambda images: _standardize(images[..., ::-1], (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torch": lambda images: _standardize(images, [255 * mean for mean in _MEANS], [255 * part for part in _DEVIATIONS]),
    "tf": lambda images: _scale(images, 1 / 127.5, -1.0),
    "unit": _scale,
    "none": lambda images: images,
}


@dataclass(frozen=True)
class Backbone:
    """One network: its constructor, Keras' `mode` of its preprocessing."""

    build: Callable
    preprocessing: str


BACKBONES = {
    "ResNet50": Backbone(keras.applications.ResNet50, "caffe"),
    "InceptionV3": Backbone(keras.applications.InceptionV3, "tf"),
    "DenseNet121": Backbone(keras.applications.DenseNet121, "torch"),
    "MobileNet": Backbone(keras.applications.MobileNet, "tf"),
    "ResNet18": Backbone(build_resnet18, "torch"),
}


def build(
    name: str,
    size: tuple[int, int],
    *,
    weights: str = "none",
    alpha: float = 1.0,
    frozen_layers: int = 0,
    frozen_batchnorm: str = "inference",
    preprocessing: str = "",
) -> keras.Model:
    """Build a network without its classifier, from RGB images in 0..255 to its last feature map.

    Layers have the same names in every session; those of the preprocessing start with `preprocess_`.

    Args:
        name: row of BACKBONES.
        size: height and width in pixels.
        weights: see weights.load_weights.
        alpha: MobileNet's width, relative to the full one; 1.0 for all others.
        frozen_layers: how many of the network's first layers are not trained, counted as keras.applications lists them (the
            input counts, the preprocessing does not); -1: all.
        frozen_batchnorm: what a frozen BatchNormalization does while training. `inference`: it uses its stored statistics
            and leaves them alone (Keras 3). `batch`: it uses the batch's statistics and updates the stored ones, while scale
            and offset stay fixed (Keras on TensorFlow 1, PyTorch in training mode).
        preprocessing: "" for the network's own, `unit` for a division by 255, `none` for none.

    Raises:
        ParameterError: something that the network does not have.
        WeightsError: weights that are missing or must not be loaded.
    """
    _check(name in BACKBONES, f"backbone {name!r}", f"one of {', '.join(BACKBONES)}")
    row = BACKBONES[name]
    _check(min(size) >= NETWORKS[name][0], f"input size {size[0]}x{size[1]} for {name}", f"{NETWORKS[name][0]} pixels or more")
    _check(alpha > 0 and (alpha == 1 or name == "MobileNet"), f"alpha {alpha} for {name}", "1.0; others for MobileNet only")
    _check(preprocessing in ("", "unit", "none"), f"preprocessing {preprocessing!r}", '"" (the network\'s own), unit or none')
    _check(frozen_batchnorm in ("inference", "batch"), f"frozen_batchnorm {frozen_batchnorm!r}", "inference or batch")
    images = keras.Input((*size, 3), name="images")
    width = {"alpha": alpha} if name == "MobileNet" else {}
    preprocessed = _PREPROCESSING[preprocessing or row.preprocessing](images)
    network = row.build(input_tensor=preprocessed, include_top=False, weights=None, **width)
    fresh = number_names([operation.name for operation in network.operations])
    for operation in network.operations:
        operation.name = fresh[operation.name].replace("get_item", f"{PREFIX}rgb_to_bgr")
    # Made anew because keras.applications leaves the input as a list, at which Keras warns when it is given an array.
    model = keras.Model(images, network.output, name=f"backbone_{name.lower()}")
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Keras' own 0.99 lags behind where an epoch has few steps
    weights_files.load_weights(model, name, weights, alpha)
    _freeze_layers(model, name, frozen_layers, frozen_batchnorm)
    return model


def list_layers(model: keras.Model) -> list[layers.Layer]:
    """Return the layers of a backbone as keras.applications lists them: those of the preprocessing left out."""
    return [layer for layer in model.layers if not layer.name.startswith(PREFIX)]


def describe(model: keras.Model, name: str, *, weights: str, alpha: float = 1.0) -> dict:
    """Describe a backbone of `build`, or a whole model on top of one, as metrics.json's `backbone` does."""
    return {
        "network": name,
        "alpha": alpha,
        "input_size": list(model.input_shape[1:3]),
        "weights": weights_files.describe(model, name, weights, alpha),
        "layers_frozen": sum(bool(layer.weights) and not layer.trainable_weights for layer in model.layers),
        "parameters": model.count_params(),
        "trainable": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
    }


def _check(right: bool, received: str, expected: str) -> None:
    if not right:
        raise ParameterError(received, expected=expected)


def _freeze_layers(model: keras.Model, name: str, count: int, batchnorm: str) -> None:
    own = list_layers(model)
    _check(-1 <= count <= len(own), f"frozen_layers {count}", f"-1 to {len(own)}, the layers of {name}")
    for layer in own[: count if count >= 0 else None]:
        if batchnorm == "batch" and isinstance(layer, layers.BatchNormalization):
            # The layer itself stays trainable, or Keras would use the stored statistics; its weights do not.
            for weight in layer.trainable_weights:
                weight.trainable = False
        else:
            layer.trainable = False
