"""Weights of a backbone, put into it all or nothing; a run's backbone for others to start from."""

import json
import os
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np

from facekit.data.manifests import read_manifest
from facekit.errors import WeightsError
from facekit.models.networks import WIDTHS
from facekit.models.weight_files import BACKBONE_NAME, CARD_NAME, find_file, open_checked, read_card, read_weights
from facekit.paths import expand, hash_file, write_text


def load_weights(model: keras.Model, name: str, source: str, alpha: float = 1.0) -> None:
    """Load weights into a backbone of backbones.build.

    The input size may differ from the one that the weights were trained at; network, width and, for another run's weights, the
    preprocessing must be the same. Layers that a file leaves out at the network's end keep their random weights.
    WeightsError: missing (with where to get it), damaged, not to be trusted, or not of this network.

    Args:
        model, name, alpha: the backbone, its row of backbones.BACKBONES, MobileNet's width.
        source: `none` (random), `imagenet`, `sample` (the small MobileNet in this repository), `run:PROFILE/TASK` (the backbone
            that a run saved), or a file: .h5, for ResNet18 also .pth and .safetensors.
    """
    path = _find_imagenet(model, name, alpha) if source == "imagenet" else find_file(source)
    if path is None:
        return
    if source == "imagenet" and path.suffix == ".h5":
        with open_checked(path):
            return model.load_weights(path)  # which goes by the layers' order: in older files they have other names
    card = {}
    if source.startswith("run:"):
        card, expected = read_card(path), [name, alpha, _list_steps(model)]
        if (received := [card["network"], card["alpha"], card["preprocessing"]]) != expected:
            raise WeightsError(f"{path}: weights of {received}", expected=f"{expected}")
    arrays = read_weights(path, model.layers, card.get("sha256"))
    for layer in [layer for layer in model.layers if layer.weights]:
        layer.weights_file = path.name if layer.name in arrays else None
        if layer.weights_file:
            layer.set_weights(arrays[layer.name])


def describe(model: keras.Model, name: str, source: str, alpha: float) -> dict:
    """Describe a network's initial weights for the record, after load_weights and with its arguments."""
    path = _find_imagenet(model, name, alpha) if source == "imagenet" else find_file(source)
    return {"source": source, "sha256": hash_file(path) if path else None} | describe_start(model, name)


def describe_start(model: keras.Model, name: str) -> dict:
    """Return which layers a file left out, for the record; {} for none.

    Their names are `random`; `start` says it in short, such as `ResNet50, conv1 to conv4 from resnet50.h5, conv5 new`.
    """
    starts = {layer.name: layer.weights_file for layer in model.layers if hasattr(layer, "weights_file")}
    random, known = ([name for name, file in starts.items() if bool(file) is part] for part in (False, True))
    if not random:
        return {}
    stages = [[each.partition("_")[0] for each in names] for names in (known, random)]
    parts = [known, random] if set(stages[0]) & set(stages[1]) else stages
    old, new = (" to ".join(dict.fromkeys((names[0], names[-1]))) for names in parts)
    return {"random": random, "start": f"{name}, {old} from {starts[known[0]]}, {new} new"}


def _find_imagenet(model: keras.Model, name: str, alpha: float) -> Path:
    """Return the file of a network's ImageNet weights in Keras' own cache, downloaded where it is not there."""
    if alpha not in WIDTHS:
        raise WeightsError(f"imagenet weights of {name} in width {alpha}", expected=f"one of {', '.join(map(str, WIDTHS))}")
    listed, size = next(file for file in read_manifest("weights").files if file.network == name and file.url), model.input_shape
    # The manifest lists one MobileNet; those of other widths and sizes are in the same folder.
    trained = size[1] if size[1] == size[2] and size[1] in (128, 160, 192, 224) else 224
    file = listed.path.replace("mobilenet_1_0_224", f"mobilenet_{WIDTHS[alpha]}_{trained}")
    url, known = listed.url.replace(listed.path, file), listed.known_hash if file == listed.path else None
    home = expand(os.environ.get("KERAS_HOME") or "~/.keras")
    try:
        (home / "models").mkdir(parents=True, exist_ok=True)  # or Keras would take /tmp
        digest = known and known.partition(":")[2]
        return Path(keras.utils.get_file(file, url, cache_dir=home, cache_subdir="models", file_hash=digest))
    # Each kind of network trouble has its own exception; Keras raises a bare one.
    except Exception as error:
        hint = f"get {file} ({known or 'its hash is not known'}) on another machine and put it at {home / 'models' / file}"
        raise WeightsError(f"imagenet weights of {name}: cannot download {url} ({error})", hint=hint) from error


def _list_steps(model: keras.Model) -> list[list]:
    """Return what a model's preprocessing layers do: class and numbers."""
    steps = [operation for operation in model.operations if operation.name.startswith("preprocess_")]
    numbers = [[step.get_config().get(key) for key in ("scale", "offset", "mean", "variance")] for step in steps]
    return [[type(step).__name__, *(n for n in row if n is not None)] for step, row in zip(steps, numbers, strict=True)]


def save_backbone(model: keras.Model, folder: Path, text: str, **card) -> None:
    """Write the backbone of a run, of backbones.build, for others to start from, its kernels as compressed float16.

    Args:
        folder: the run's model/, after Run.save_model; gets backbone.weights.h5, README.md and more keys in card.json.
        text: what the backbone was trained on, what for, and what not for, in Markdown.
        card: network and alpha, and what else is to be known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, part, file = folder / BACKBONE_NAME, folder / "backbone.part", folder / CARD_NAME
    with tempfile.TemporaryDirectory() as temporary:
        keras.Model(model.inputs, model.outputs).save_weights(full := Path(temporary) / "full.weights.h5")
        with h5py.File(full, "r") as source, h5py.File(part, "w") as target:

            def copy(name, item):
                if isinstance(item, h5py.Dataset):
                    # Vectors stay float32, as a variance can be too small for 16 bits.
                    values = item[()].astype(np.float16) if item.ndim > 1 else item[()]
                    target.create_dataset(name, data=values, compression="gzip", compression_opts=9, shuffle=True)
                else:
                    target.require_group(name).attrs.update(item.attrs)

            source.visititems(copy)
    part.replace(path)
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known |= {"holds": "backbone", "sha256": hash_file(path), "preprocessing": _list_steps(model)} | card
    write_text(file, json.dumps(known, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", text)
