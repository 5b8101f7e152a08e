"""The networks that pictures go through first: one table row each, and the ways their weights come.

The traps this prevents: pictures that are preprocessed twice or for another network (Keras' preprocess_input also
changes the array it is given), weights that do not belong to the network, and a nested model whose layers can neither
be frozen nor looked at.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pooch
from keras.applications import densenet, imagenet_utils, inception_v3, mobilenet, resnet

from facekit.errors import ParameterError, WeightsError
from facekit.folders import project_root, resolve
from facekit.manifests import load_manifest
from facekit.smallnets import build_age_cnn, build_resnet18
from facekit.torchfiles import read_torch_file
from facekit.weights import (
    assign_weights,
    check_digest,
    check_weights_file,
    list_shapes,
    number_names,
    read_model_folder,
    read_weights_file,
)

POOLED = "pooled"  # the layer that ends the backbone: everything above it is its own
UNIT = "unit"  # preprocessing that only divides by 255
SAMPLE_FILE = Path(__file__).parent / "weights" / "mobilenet_0.25_synthetic.weights.h5"
_TORCH_PARAMETERS = {4: ("weight",), 1: ("weight", "bias", "running_mean", "running_var")}


@dataclass(frozen=True)
class Backbone:
    """One network.

    Args:
        build: constructor with the arguments of keras.applications.
        preprocess: its own way from float pictures in 0..255 to what it takes; changes its argument.
        default_size: height and width that it was made for.
        minimum_size: the smallest height and width that leave something to see.
        last_convolution: the layer whose output is the last feature map (Grad-CAM).
        imagenet_file: name of the published ImageNet weights (data_manifests/weights.yaml says where and which hash);
            MobileNet's depends on width and size; "" where nobody published any.
    """

    build: Callable
    preprocess: Callable[[np.ndarray], np.ndarray]
    default_size: tuple[int, int]
    minimum_size: int
    last_convolution: str
    imagenet_file: str


BACKBONES = {
    "ResNet50": Backbone(
        keras.applications.ResNet50,
        resnet.preprocess_input,
        (224, 224),
        32,
        "conv5_block3_out",
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "InceptionV3": Backbone(
        keras.applications.InceptionV3,
        inception_v3.preprocess_input,
        (299, 299),
        75,
        "mixed10",
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "DenseNet121": Backbone(
        keras.applications.DenseNet121,
        densenet.preprocess_input,
        (224, 224),
        32,
        "relu",
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "MobileNet": Backbone(
        keras.applications.MobileNet,
        mobilenet.preprocess_input,
        (224, 224),
        32,
        "conv_pw_13_relu",
        "mobilenet_{width}_{size}_tf_no_top.h5",
    ),
    "ResNet18": Backbone(
        build_resnet18,
        lambda pictures: imagenet_utils.preprocess_input(pictures, mode="torch"),
        (224, 224),
        32,
        "layer4_1_relu2",
        "resnet18-f37072fd.pth",
    ),
    "AgeCNN": Backbone(build_age_cnn, lambda pictures: pictures / 255, (32, 32), 16, "pool2", ""),
}
_MOBILENET_WIDTHS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
_MOBILENET_SIZES = (128, 160, 192, 224)


def get_backbone(name: str) -> Backbone:
    """Return the table's row; an unknown name raises a ParameterError that lists the known ones."""
    if name not in BACKBONES:
        raise ParameterError(f"backbone {name!r}", expected=f"one of {', '.join(BACKBONES)}")
    return BACKBONES[name]


def build_backbone(name: str, input_size: tuple[int, int], alpha: float = 1.0, stem_stride: int = 0) -> keras.Model:
    """Build a network without top and with random weights; its layers are called the same in every session.

    Args:
        name: row of BACKBONES.
        input_size: height and width in pixels.
        alpha: MobileNet's width, as a share of the full one; 1.0 for all others.
        stem_stride: of the first convolution; 0: the network's own. 1 where that is 2 gives a small picture the feature maps
            of one of twice its size, without enlarging it.

    Returns:
        A flat model from the input `pictures` to the last feature map.

    Raises:
        ParameterError: unknown name, too small a size, or a width that the network does not have.
    """
    row = get_backbone(name)
    if min(input_size) < row.minimum_size:
        came = f"input size {input_size[0]}x{input_size[1]} for {name}"
        raise ParameterError(came, expected=f"at least {row.minimum_size}x{row.minimum_size}")
    if alpha <= 0 or (alpha != 1.0 and name != "MobileNet"):
        raise ParameterError(f"alpha {alpha} for {name}", expected="1.0; other widths above 0 for MobileNet only")
    width = {"alpha": alpha} if name == "MobileNet" else {}
    pictures = keras.Input((*input_size, 3), name="pictures")
    model = row.build(input_tensor=pictures, include_top=False, weights=None, **width)
    fresh = number_names([layer.name for layer in model.layers])
    for layer in model.layers:
        layer.name = fresh[layer.name]
    # Made anew because keras.applications leaves the input as a list, at which Keras warns when it is given an array.
    model = keras.Model(pictures, model.output, name=f"backbone_{name.lower()}")
    return _change_stem(model, stem_stride) if stem_stride else model


def _change_stem(model: keras.Model, stride: int) -> keras.Model:
    stem = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))

    def copy_layer(layer):
        changed = {"strides": (stride, stride)} if layer is stem else {}
        return layer.__class__.from_config({**layer.get_config(), **changed})

    return keras.models.clone_model(model, input_tensors=model.input, clone_function=copy_layer)


def take_backbone(model: keras.Model) -> keras.Model:
    """Return the backbone of a model of models.build_model (its layers, not copies), or a bare backbone as it is."""
    if not any(layer.name == POOLED for layer in model.layers):
        return model
    return keras.Model(model.get_layer("pictures").output, model.get_layer(POOLED).input, name="backbone")


def preprocess_pictures(style: str, pictures: np.ndarray) -> np.ndarray:
    """Make pictures ready for a network; the pictures themselves stay as they are.

    Args:
        style: row of BACKBONES for the network's own way, or `unit` for a division by 255.
        pictures: shape (n, height, width, 3), RGB, uint8 or float, in 0..255.

    Returns:
        New float32 array of the same shape.

    Raises:
        ParameterError: unknown style, or pictures that have been scaled before.
    """
    if style != UNIT and style not in BACKBONES:
        raise ParameterError(f"preprocessing {style!r}", expected=f"{UNIT} or one of {', '.join(BACKBONES)}")
    copy = np.array(pictures, dtype=np.float32)
    if pictures.dtype != np.uint8 and copy.size:
        low, high = float(copy.min()), float(copy.max())
        # Fractions tell scaled pictures from black ones.
        scaled = 0 < high <= 1 and bool((copy % 1).any())
        if scaled or not -0.01 <= low <= high <= 255.01:
            raise ParameterError(f"pictures in {low:.3g}..{high:.3g}", expected="0..255, not yet preprocessed")
    if style == UNIT:
        copy /= 255
        return copy
    return BACKBONES[style].preprocess(copy)


def load_backbone_weights(
    model: keras.Model, name: str, weights: str, *, alpha: float = 1.0, preprocessing: str = ""
) -> dict[str, str | None]:
    """Load weights into a backbone, or into the backbone inside a whole model.

    The input size may differ from the one the weights were trained at, since every layer up to the pooling is a
    convolution or works channel by channel; network, width and, for another run's backbone, preprocessing must be the
    same.

    Args:
        model: of build_backbone or models.build_model.
        name: row of BACKBONES that the model was built from.
        weights: `none` (random), `imagenet`, `sample` (the small MobileNet in this repository), `run:PROFILE/TASK`, or
            a file: .weights.h5, for ResNet18 also .pth and .safetensors.
        alpha: MobileNet's width.
        preprocessing: what the model is fed with, see preprocess_pictures; "" is the network's own.

    Returns:
        `source` (as given) and `sha256` of the file (None for `none`), as metrics.json wants them.

    Raises:
        WeightsError: missing (with where to get it), damaged, not to be trusted, or not of this network.
    """
    row = get_backbone(name)
    backbone = take_backbone(model)
    if weights == "none":
        return {"source": weights, "sha256": None}
    if weights == "imagenet":
        digest = _load_imagenet(backbone, name, row, alpha)
    elif weights.startswith("run:"):
        digest = _load_run(backbone, weights, (name, alpha, preprocessing or name))
    else:
        path = SAMPLE_FILE if weights == "sample" else resolve(weights)
        if not path.is_file():
            expected = "imagenet, none, sample, run:PROFILE/TASK or a file that is there"
            raise WeightsError(f"weights {weights!r}: no file {path}", expected=expected)
        digest = _load_file(backbone, name, path)
    return {"source": weights, "sha256": digest}


def _load_file(backbone: keras.Model, name: str, path: Path, *, partial: bool = False, sha256: str | None = None) -> str:
    if path.suffix in (".pth", ".pt", ".safetensors"):
        if name != "ResNet18":
            raise WeightsError(f"{path}: a PyTorch file for {name}", expected="a .weights.h5 file; PyTorch's for ResNet18 only")
        digest = check_digest(path, sha256)
        arrays = convert_resnet18(read_torch_file(path), list_shapes(backbone.layers), path)
    else:
        digest = check_weights_file(path, sha256)
        arrays = read_weights_file(path, list_shapes(backbone.layers), partial=partial)
    assign_weights(backbone.layers, arrays)
    return digest


def convert_resnet18(state: dict[str, np.ndarray], shapes: dict[str, list[tuple]], path="state dictionary") -> dict[str, list]:
    """Turn torchvision's ResNet18 parameters into Keras' order of names and axes.

    Args:
        state: parameter name -> array, as torchfiles.read_torch_file returns it. The classifier `fc` is left out.
        shapes: layer name -> shapes of its weights, of weights.list_shapes.
        path: named in errors.

    Returns:
        Layer name -> list of float32 arrays.

    Raises:
        WeightsError: a parameter is missing, unknown or of another shape.
    """
    rest = {key: value for key, value in state.items() if not key.startswith("fc.") and "num_batches_tracked" not in key}
    names = {key.rpartition(".")[0].replace(".", "_"): key.rpartition(".")[0] for key in rest}
    arrays = {}
    for layer, expected in shapes.items():
        # A convolution has one weight of four axes: PyTorch's output, input, height, width.
        keys = [f"{names.get(layer, layer)}.{part}" for part in _TORCH_PARAMETERS[len(expected[0])]]
        if missing := [key for key in keys if key not in rest]:
            raise WeightsError(f"{path}: no {missing[0]}", expected="the parameters of torchvision's ResNet18")
        values = [np.asarray(rest.pop(key), dtype=np.float32) for key in keys]
        arrays[layer] = [value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for value in values]
        if [value.shape for value in arrays[layer]] != expected:
            raise WeightsError(f"{path}: {keys[0]} of shape {values[0].shape}", expected=f"that of ResNet18's {layer}")
    if rest:
        raise WeightsError(f"{path}: unknown parameter {next(iter(rest))}", expected="those of torchvision's ResNet18")
    return arrays


def _load_run(backbone: keras.Model, weights: str, wanted: tuple[str, float, str]) -> str:
    match = re.fullmatch(r"run:([a-z0-9-]+)/([a-z0-9-]+)", weights)
    if not match:
        raise WeightsError(f"weights {weights!r}", expected="run:PROFILE/TASK, such as run:laptop/celeba")
    profile, task = match.groups()
    folder = project_root() / "reports" / profile / task / "model"
    if not folder.is_dir():
        came = f"weights {weights}: no saved model in reports/{profile}/{task}/model"
        raise WeightsError(came, mend=f"make it first: make {task} PROFILE={profile}")
    content, path, digest = read_model_folder(folder)
    came = (content["spec"]["backbone"], content["spec"]["alpha"], content["preprocessing"])
    if came != wanted:
        text = "{} of width {}, preprocessing {}"
        raise WeightsError(f"weights {weights}: {text.format(*came)}", expected=text.format(*wanted))
    return _load_file(backbone, wanted[0], path, partial=content["holds"] == "model", sha256=digest)


def _load_imagenet(backbone: keras.Model, name: str, row: Backbone, alpha: float) -> str:
    file = row.imagenet_file
    if not file:
        raise WeightsError(f"imagenet weights of {name}: nobody published any", mend="set weights to none")
    if name == "MobileNet":
        height, width = backbone.input_shape[1:3]
        size = height if height == width and height in _MOBILENET_SIZES else 224
        if alpha not in _MOBILENET_WIDTHS:
            raise WeightsError(f"imagenet weights for alpha {alpha}", expected="alpha 0.25, 0.5, 0.75 or 1.0")
        file = file.format(width=_MOBILENET_WIDTHS[alpha], size=size)
    # The manifest lists one file a network; MobileNet's other widths lie beside the one listed.
    listed = next(entry for entry in load_manifest("weights").files if entry.network == name and entry.url)
    url = listed.url.replace(listed.path, file)
    md5, sha256 = (listed.md5, listed.sha256) if listed.path == file else (None, None)
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    path = home / "models" / file
    try:
        if sha256:
            pooch.retrieve(url, f"sha256:{sha256}", fname=file, path=path.parent)
        else:
            keras.utils.get_file(file, url, cache_dir=home, cache_subdir="models", file_hash=md5)
    # Each library and each kind of network trouble has its own exception; Keras raises a bare one.
    except Exception as error:
        digest = f" (sha256 {sha256})" if sha256 else f" (md5 {md5})" if md5 else ""
        came = f"imagenet weights of {name}: cannot download {url} ({error})"
        raise WeightsError(came, mend=f"get {file}{digest} on another machine and put it at {path}") from error
    if path.suffix == ".pth":
        return _load_file(backbone, name, path)
    digest = check_weights_file(path)
    try:
        backbone.load_weights(path)
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: {error}", expected=f"the ImageNet weights of {name}", mend="delete the file") from error
    return digest
