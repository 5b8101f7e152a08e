"""ResNet18, which keras.applications does not have, laid out as torchvision's.

Keras' padding "same" would shift strided convolutions by one pixel, and its BatchNormalization has another epsilon.
"""

import keras
from keras import layers


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
