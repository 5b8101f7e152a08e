"""Backbone, dense block and heads as one flat graph; what is frozen; a model on disk.

The traps this prevents: a nested backbone whose layers can neither be frozen nor looked at, a frozen BatchNormalization
that behaves unlike the report's, 16-bit outputs whose losses overflow, and a saved model that runs code when it is
loaded.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from pydantic import ConfigDict, TypeAdapter, ValidationError

from facekit.backbones import BACKBONES, POOLED, UNIT, build_backbone, get_backbone, take_backbone
from facekit.errors import ParameterError, WeightsError
from facekit.weights import (
    SCHEMA,
    SPEC_NAME,
    WEIGHTS_NAME,
    assign_weights,
    hash_file,
    list_shapes,
    read_model_folder,
    read_weights_file,
)

# Head kind -> activation; its loss is in losses.LOSSES.
ACTIVATIONS = {"regression": "linear", "binary": "sigmoid", "multi-label": "sigmoid", "multi-class": "softmax"}
BATCHNORM_MODES = ("inference", "batch")
POOLINGS = {"average": layers.GlobalAveragePooling2D, "flatten": layers.Flatten}
# Bounds that no experiment comes near, so that a spec.json cannot ask for all memory.
_LARGEST_SIDE, _LARGEST_LAYER, _LARGEST_ALPHA = 2048, 16384, 2.0


@dataclass(frozen=True)
class Dense:
    """One step of the dense block: Dense, then perhaps BatchNormalization, the activation, and perhaps Dropout.

    Args:
        units: outputs; 0 leaves out all but the dropout.
        activation: Keras' name; None for a linear layer.
        dropout: share of the outputs that training drops, 0..1.
        batchnorm: normalise before the activation.
    """

    units: int
    activation: str | None = "relu"
    dropout: float = 0.0
    batchnorm: bool = False

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self):
        known = (None, "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "linear")
        _check(0 <= self.units <= _LARGEST_LAYER, f"dense units {self.units}", f"0 to {_LARGEST_LAYER}")
        _check(self.activation in known, f"activation {self.activation!r}", f"one of {', '.join(map(str, known))}")
        _check(0 <= self.dropout < 1, f"dropout {self.dropout}", "0 or more and less than 1")


@dataclass(frozen=True)
class Head:
    """One output of the model.

    Args:
        name: of the output, and of its layer.
        kind: regression (one number), binary (one probability), multi-label (one each), multi-class (they add up to 1).
        classes: names of the outputs; needed for multi-label (one or more) and multi-class (two or more).
    """

    name: str
    kind: str
    classes: tuple[str, ...] = ()

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self):
        known = re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", self.name)
        _check(bool(known), f"head name {self.name!r}", "small letters, digits, _ and -, beginning with a letter")
        _check(self.kind in ACTIVATIONS, f"head {self.name}: kind {self.kind!r}", f"one of {', '.join(ACTIVATIONS)}")
        least = {"multi-label": 1, "multi-class": 2}.get(self.kind, 0)
        _check(len(self.classes) >= least, f"head {self.name}: {len(self.classes)} classes", f"{least} or more")
        _check(len(self.classes) <= _LARGEST_LAYER, f"head {self.name}: {len(self.classes)} classes", "fewer")

    @property
    def units(self) -> int:
        """Number of outputs."""
        return len(self.classes) if self.kind in ("multi-label", "multi-class") else 1


@dataclass(frozen=True)
class ModelSpec:
    """Everything that a model's graph and preprocessing hang on.

    Args:
        backbone: row of backbones.BACKBONES.
        input_size: height and width in pixels.
        heads: one or more outputs.
        alpha: MobileNet's width.
        preprocessing: see backbones.preprocess_pictures; "" is the network's own, "unit" a division by 255.
        pooling: from the last feature map to features: the `average` over the picture, or `flatten` for all of it.
        dense: steps between the pooled features and the heads.
        auxiliary: numbers a picture that join the pooled features (input `auxiliary`); 0 for none.
        frozen_layers: the first N layers of the backbone, its input counted as in `model.layers[:N]`; -1 for all of it;
            or a layer's name, or the beginning of one such as `layer4`: everything before it.
        frozen_batchnorm: what a frozen BatchNormalization does while training. `inference`: it uses its stored
            statistics and leaves them alone (Keras 3). `batch`: it uses the batch's statistics and moves the stored
            ones, while scale and offset stay fixed (Keras on TensorFlow 1, PyTorch in training mode).
        l2: times the sum of squares of all trainable weights is added to the loss.
        stem_stride: of the backbone's first convolution; 0: the network's own.
    """

    backbone: str
    input_size: tuple[int, int]
    heads: tuple[Head, ...]
    alpha: float = 1.0
    preprocessing: str = ""
    pooling: str = "average"
    dense: tuple[Dense, ...] = ()
    auxiliary: int = 0
    frozen_layers: int | str = 0
    frozen_batchnorm: str = "inference"
    l2: float = 0.0
    stem_stride: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self):
        get_backbone(self.backbone)
        styles = ("", UNIT, *BACKBONES)
        names = [head.name for head in self.heads]
        _check(self.preprocessing in styles, f"preprocessing {self.preprocessing!r}", f"one of {', '.join(styles[1:])}")
        _check(max(self.input_size) <= _LARGEST_SIDE, f"input size {self.input_size}", f"at most {_LARGEST_SIDE}")
        _check(0 <= self.stem_stride <= 4, f"stem stride {self.stem_stride}", "0 to 4")
        _check(self.alpha <= _LARGEST_ALPHA, f"alpha {self.alpha}", f"at most {_LARGEST_ALPHA}")
        _check(0 < len(names) == len(set(names)), f"heads {', '.join(names) or 'none'}", "one or more, of different names")
        _check(0 <= self.auxiliary <= _LARGEST_LAYER, f"auxiliary {self.auxiliary}", f"0 to {_LARGEST_LAYER}")
        _check(self.pooling in POOLINGS, f"pooling {self.pooling!r}", f"one of {', '.join(POOLINGS)}")
        modes = ", ".join(BATCHNORM_MODES)
        _check(self.frozen_batchnorm in BATCHNORM_MODES, f"frozen_batchnorm {self.frozen_batchnorm!r}", f"one of {modes}")
        _check(self.l2 >= 0, f"l2 {self.l2}", "0 or more")

    @property
    def style(self) -> str:
        """The preprocessing, named: what preprocess_pictures takes."""
        return self.preprocessing or self.backbone


def _check(right: bool, came: str, expected: str) -> None:
    if not right:
        raise ParameterError(came, expected=expected)


def build_model(spec: ModelSpec) -> keras.Model:
    """Build the model of a spec with random weights; load the backbone's with backbones.load_backbone_weights.

    Args:
        spec: the model's description.

    Returns:
        A flat model. Input: preprocessed pictures, or {"pictures": ..., "auxiliary": (n, auxiliary)} where the spec has
        an auxiliary input. Output: {head name: (n, units)} in float32, activations applied. The backbone ends in the
        layer `pooled`.

    Raises:
        ParameterError: the spec names something that the network does not have.
    """
    backbone = build_backbone(spec.backbone, spec.input_size, spec.alpha, spec.stem_stride)
    inputs = backbone.input
    x = POOLINGS[spec.pooling](name=POOLED)(backbone.output)
    if spec.auxiliary:
        auxiliary = keras.Input((spec.auxiliary,), name="auxiliary")
        inputs = {"pictures": backbone.input, "auxiliary": auxiliary}
        x = layers.Concatenate(name="with_auxiliary")([x, auxiliary])
    outputs = _add_heads(x, spec.dense, spec.heads)
    try:
        model = keras.Model(inputs, outputs, name=re.sub(r"\W", "_", f"{spec.backbone}_model"))
    except ValueError as error:  # two layers of one name
        raise ParameterError(f"heads {', '.join(outputs)}: {error}", expected="names that no layer has") from error
    _freeze_layers(backbone.layers, spec)
    if spec.l2:
        for weight in model.trainable_weights:
            weight.regularizer = keras.regularizers.L2(spec.l2)
    return model


def build_head_model(width: int, heads: tuple[Head, ...], dense: tuple[Dense, ...] = ()) -> keras.Model:
    """Build dense block and heads alone, for features that were computed before: minutes become seconds.

    Args:
        width: numbers a row.
        heads: one or more outputs.
        dense: steps between the features and the heads.

    Returns:
        A model from the input `pictures` of shape (n, width), named as in build_model, to {head name: (n, units)}.
    """
    features = keras.Input((width,), name="pictures")
    return keras.Model(features, _add_heads(features, dense, heads), name="heads")


def _add_heads(x, dense: tuple[Dense, ...], heads: tuple[Head, ...]) -> dict:
    for number, step in enumerate(dense, start=1):
        x = _add_dense(x, step, f"dense_{number}")
    # In 16 bits a softmax rounds to 0 and its logarithm is lost; so the heads compute in 32 in any case.
    return {head.name: layers.Dense(head.units, ACTIVATIONS[head.kind], name=head.name, dtype="float32")(x) for head in heads}


def _add_dense(x, step: Dense, name: str):
    if step.units:
        x = layers.Dense(step.units, name=name)(x)
        if step.batchnorm:
            x = layers.BatchNormalization(name=f"{name}_batchnorm")(x)
        if step.activation:
            x = layers.Activation(step.activation, name=f"{name}_{step.activation}")(x)
    return layers.Dropout(step.dropout, name=f"{name}_dropout")(x) if step.dropout else x


def _freeze_layers(backbone_layers: list, spec: ModelSpec) -> None:
    for layer in backbone_layers[: _count_frozen(backbone_layers, spec)]:
        if spec.frozen_batchnorm == "batch" and isinstance(layer, layers.BatchNormalization):
            # The layer itself stays trainable, or Keras would use the stored statistics; its weights do not.
            for weight in layer.trainable_weights:
                weight.trainable = False
        else:
            layer.trainable = False


def _count_frozen(backbone_layers: list, spec: ModelSpec) -> int:
    frozen = spec.frozen_layers
    if isinstance(frozen, str):
        for position, layer in enumerate(backbone_layers):
            if layer.name == frozen or layer.name.startswith(f"{frozen}_"):
                return position
        raise ParameterError(f"frozen_layers {frozen!r}", expected=f"a layer of {spec.backbone}, or a number")
    known = -1 <= frozen <= len(backbone_layers)
    _check(known, f"frozen_layers {frozen}", f"-1 to {len(backbone_layers)}, the layers of {spec.backbone}")
    return len(backbone_layers) if frozen == -1 else frozen


def count_parameters(model: keras.Model) -> dict[str, int]:
    """Count a model's parameters.

    Args:
        model: any Keras model.

    Returns:
        `total` (with the statistics of BatchNormalization), `trainable`, and `frozen_layers`: layers with weights none
        of which trains.
    """
    return {
        "total": sum(int(np.prod(weight.shape)) for weight in model.weights),
        "trainable": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "frozen_layers": sum(bool(layer.weights) and not layer.trainable_weights for layer in model.layers),
    }


def save_model(
    model: keras.Model, spec: ModelSpec, folder: str | os.PathLike, *, provenance: dict, backbone_only: bool = False
) -> None:
    """Write a model as weights and a description in JSON, without code.

    Args:
        model: of build_model(spec).
        spec: its description.
        folder: is made; gets weights.weights.h5 and spec.json.
        provenance: what it was trained on and how, as JSON can hold it.
        backbone_only: store the backbone alone, its kernels as float16 and compressed: for other runs to start from,
            not to predict with.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_NAME
    # A new model over the same layers has no optimizer, whose state would treble the file.
    kept = take_backbone(model) if backbone_only else keras.Model(model.inputs, model.outputs)
    kept.save_weights(path)
    if backbone_only:
        _shrink_weights(path)
    content = {
        "schema": SCHEMA,
        "holds": "backbone" if backbone_only else "model",
        "sha256": hash_file(path),
        "spec": asdict(spec),
        "preprocessing": spec.style,
        "keras": keras.version(),
        "provenance": provenance,
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / SPEC_NAME).write_text(text + "\n", encoding="utf-8")


def _shrink_weights(path: Path) -> None:
    """Store kernels as compressed float16; vectors stay float32, as a variance can be too small for 16 bits."""
    full = path.with_name("full.h5")
    path.replace(full)
    with h5py.File(full, "r") as source, h5py.File(path, "w") as target:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                values = item[()].astype(np.float16) if item.ndim > 1 else item[()]
                target.create_dataset(name, data=values, compression="gzip", compression_opts=9, shuffle=True)
            else:
                target.require_group(name).attrs.update(item.attrs)

        source.visititems(copy)
    full.unlink()


def load_model(folder: str | os.PathLike) -> tuple[keras.Model, ModelSpec]:
    """Rebuild a model that save_model wrote.

    Args:
        folder: holds weights.weights.h5 and spec.json.

    Returns:
        The model with its weights, frozen as it was trained, and its spec.

    Raises:
        WeightsError: something is missing, changed, does not fit together, or holds a backbone alone.
    """
    content, path, _ = read_model_folder(folder)
    if content["holds"] != "model":
        raise WeightsError(f"{path}: holds a backbone alone", expected="a whole model", mend="use it as weights of a new run")
    try:
        spec = TypeAdapter(ModelSpec).validate_json(json.dumps(content["spec"]), strict=True)
        model = build_model(spec)
    except (ValidationError, ParameterError) as error:
        raise WeightsError(f"{path.with_name(SPEC_NAME)}: {error}", expected="a description of a model") from error
    if content["preprocessing"] != spec.style:
        came = f"{path.with_name(SPEC_NAME)}: preprocessing {content['preprocessing']}"
        raise WeightsError(came, expected=spec.style)
    assign_weights(model.layers, read_weights_file(path, list_shapes(model.layers)))
    return model, spec
