"""Backbones: networks without their classifier, one table row each.

Preprocessing is inside, so it can't be that of another network; the graph is flat, so layers can be frozen and looked at.
ResNet18, which keras.applications does not have, is laid out as torchvision's.
"""

import keras
import numpy as np
from keras import layers

from facekit.errors import ParameterError
from facekit.models import weights as weights_files
from facekit.models.networks import check_network
from facekit.models.weight_files import number_names

PREFIX = "preprocess_"  # of the names of the preprocessing's layers


def _build_resnet18(input_tensor, **_) -> keras.Model:
    """Build ResNet18; a layer's name is its path in torchvision with `_` for `.`, so `layer4.0.conv1` is `layer4_0_conv1`.

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
    inner = layers.ReLU(name=f"{name}_relu1")(_convolve(x, filters, 3, stride, f"{name}_conv1", f"{name}_bn1"))
    inner = _convolve(inner, filters, 3, 1, f"{name}_conv2", f"{name}_bn2")
    if stride != 1:
        x = _convolve(x, filters, 1, stride, f"{name}_downsample_0", f"{name}_downsample_1")
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([inner, x]))


def _convolve(x, filters: int, kernel: int, stride: int, name: str, norm: str):
    if kernel > 1:
        # Keras' padding "same" would shift strided convolutions by one pixel.
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    # A new initializer for each layer: one that is shared draws the same numbers again.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    x = layers.Conv2D(filters, kernel, stride, use_bias=False, kernel_initializer=initializer, name=name)(x)
    return layers.BatchNormalization(epsilon=1e-5, name=norm)(x)


def _standardize(images, means, deviations):
    variances = [deviation**2 for deviation in deviations]
    return layers.Normalization(mean=list(means), variance=variances, name=f"{PREFIX}standardize", dtype="float32")(images)


_IMAGENET = (255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225)  # means, standard deviations
# From RGB images in 0..255 to what a network takes; computed in 32 bits under mixed precision too.
_PREPROCESSING = {
    "caffe": lambda images: _standardize(images[..., ::-1], (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torch": lambda images: _standardize(images, *_IMAGENET),
    "tf": lambda images: layers.Rescaling(1 / 127.5, -1.0, name=f"{PREFIX}scale", dtype="float32")(images),
    "unit": lambda images: layers.Rescaling(1 / 255, name=f"{PREFIX}scale", dtype="float32")(images),
    "none": lambda images: images,
}
# What builds a network, and its preprocessing, as Keras calls it.
BACKBONES = {
    "ResNet50": (keras.applications.ResNet50, "caffe"),
    "InceptionV3": (keras.applications.InceptionV3, "tf"),
    "DenseNet121": (keras.applications.DenseNet121, "torch"),
    "MobileNet": (keras.applications.MobileNet, "tf"),
    "ResNet18": (_build_resnet18, "torch"),
}


def build(
    name: str, size: tuple, *, weights="none", alpha=1.0, frozen_layers=0, frozen_batchnorm="inference", preprocessing=""
) -> keras.Model:
    """Build a network without its classifier, from RGB images in 0..255 to its last feature map.

    Layers have the same names in every session; those of the preprocessing start with `preprocess_`. ParameterError: something
    that the network does not have. WeightsError: weights that are missing or must not be loaded.

    Args:
        name, size: row of BACKBONES; height and width in pixels.
        weights, alpha: see weights.load_weights; MobileNet's width, relative to the full one, 1.0 for all others.
        frozen_layers: how many of the network's first layers are not trained, counted as keras.applications lists them (the
            input counts, the preprocessing does not); -1: all.
        frozen_batchnorm: what a frozen BatchNormalization does while training. `inference`: it uses its stored statistics
            and leaves them alone (Keras 3). `batch`: it uses the batch's statistics and updates the stored ones, while scale
            and offset stay fixed (Keras on TensorFlow 1, PyTorch in training mode).
        preprocessing: "" for the network's own, `unit` for a division by 255, `none` for none.
    """
    check_network(name, size, alpha, frozen_layers)
    if preprocessing not in ("", "unit", "none"):
        raise ParameterError(f"preprocessing {preprocessing!r}", expected='"" (the network\'s own), unit or none')
    if frozen_batchnorm not in ("inference", "batch"):
        raise ParameterError(f"frozen_batchnorm {frozen_batchnorm!r}", expected="inference or batch")
    network, scaling = BACKBONES[name]
    images = keras.Input((*size, 3), name="images")
    options = {"alpha": alpha} if name == "MobileNet" else {}
    network = network(input_tensor=_PREPROCESSING[preprocessing or scaling](images), include_top=False, weights=None, **options)
    fresh = number_names([operation.name for operation in network.operations])
    for operation in network.operations:
        operation.name = fresh[operation.name].replace("get_item", f"{PREFIX}rgb_to_bgr")
    # Made anew because keras.applications leaves the input as a list, at which Keras warns when it is given an array.
    model = keras.Model(images, network.output, name=f"backbone_{name.lower()}")
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Keras' own 0.99 lags behind where an epoch has few steps
    weights_files.load_weights(model, name, weights, alpha)
    own = [layer for layer in model.layers if not layer.name.startswith(PREFIX)]
    for layer in own[: frozen_layers if frozen_layers >= 0 else None]:
        if frozen_batchnorm == "batch" and isinstance(layer, layers.BatchNormalization):
            # The layer itself stays trainable, or Keras would use the stored statistics; its weights do not.
            for weight in layer.trainable_weights:
                weight.trainable = False
        else:
            layer.trainable = False
    return model


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
