"""Networks that keras.applications does not have.

The trap this prevents: a ResNet18 that looks right and computes something else. Keras' padding "same" shifts strided
convolutions by one pixel against PyTorch's padding on both sides, and its BatchNormalization has another epsilon and
momentum.
"""

import keras
from keras import layers


def build_resnet18(input_tensor, include_top: bool = False, weights: None = None) -> keras.Model:
    """Build ResNet18 without its top, laid out as torchvision's.

    A layer's name is its path in torchvision with `_` for `.`, so `layer4.0.conv1` is `layer4_0_conv1`.

    Args:
        input_tensor: Keras input, pictures of shape (height, width, 3).
        include_top: only False, as keras.applications writes it.
        weights: only None; backbones.load_backbone_weights loads them.

    Returns:
        A model whose output has 512 channels at a 32nd of the input's size.

    Source: He et al., Deep residual learning for image recognition, https://arxiv.org/abs/1512.03385;
        torchvision's resnet.py.
    """
    if include_top or weights is not None:
        raise ValueError("ResNet18 is built without top and without weights")
    x = _add_convolution(input_tensor, 64, 7, 2, "conv1")
    x = layers.ReLU(name="relu")(_normalise(x, "bn1"))
    # Zeros stand in for PyTorch's minus infinity: nothing is below zero after the ReLU.
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        x = _add_block(x, filters, 1 if stage == 1 else 2, f"layer{stage}_0")
        x = _add_block(x, filters, 1, f"layer{stage}_1")
    return keras.Model(input_tensor, x, name="resnet18")


def build_age_cnn(input_tensor, include_top: bool = False, weights: None = None) -> keras.Model:
    """Build the convolutions of the age report's small network; flattened, they are 1600 features at 32x32.

    Args:
        input_tensor: Keras input, pictures of shape (height, width, 3).
        include_top: only False, as keras.applications writes it.
        weights: only None; nobody published any.

    Returns:
        A model whose output has 64 channels; the convolutions are unpadded.

    Source: the age report, model 1 (shared/design/reports.md, section 6).
    """
    if include_top or weights is not None:
        raise ValueError("the age CNN is built without top and without weights")
    x = layers.BatchNormalization(name="bn0")(input_tensor)
    for stage, filters in enumerate((32, 64), start=1):
        for number in (1, 2):
            x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{stage}_{number}")(x)
            x = layers.BatchNormalization(name=f"bn{stage}_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{stage}")(x)
    return keras.Model(input_tensor, x, name="agecnn")


def build_autoencoder(input_size: tuple[int, int]) -> keras.Model:
    """Build the age report's autoencoder; its code is the layer `code`.

    Args:
        input_size: height and width in pixels, multiples of 8; 32x32 gives a code of 4x4x8.

    Returns:
        A model from the input `pictures` in 0..1 to {"reconstruction": pictures in 0..1 of the same shape}.

    Source: the age report, model 2 (shared/design/reports.md, section 6).
    """
    pictures = x = keras.Input((*input_size, 3), name="pictures")
    for number, filters in enumerate((32, 16, 8), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"encode{number}")(x)
        x = layers.MaxPooling2D(name=f"down{number}")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="code")(x)
    for number, filters in enumerate((16, 32), start=1):
        x = layers.UpSampling2D(name=f"up{number}")(x)
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"decode{number}")(x)
    x = layers.UpSampling2D(name="up3")(x)
    x = layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="reconstruction")(x)
    return keras.Model(pictures, {"reconstruction": x}, name="autoencoder")


def _add_block(x, filters: int, stride: int, name: str):
    shortcut = x
    x = _normalise(_add_convolution(x, filters, 3, stride, f"{name}_conv1"), f"{name}_bn1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _normalise(_add_convolution(x, filters, 3, 1, f"{name}_conv2"), f"{name}_bn2")
    if stride != 1:
        shortcut = _add_convolution(shortcut, filters, 1, stride, f"{name}_downsample_0")
        shortcut = _normalise(shortcut, f"{name}_downsample_1")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _add_convolution(x, filters: int, kernel: int, stride: int, name: str):
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    # A new initializer for each layer: one that is shared draws the same numbers again.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return layers.Conv2D(filters, kernel, stride, use_bias=False, kernel_initializer=initializer, name=name)(x)


def _normalise(x, name: str):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
