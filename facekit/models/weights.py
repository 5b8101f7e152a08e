"""Weights of a backbone: found, and put into it all or nothing; a run's backbone for others to start from."""

import json
import os
import re
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from facekit.data.manifests import FixedFile, read_manifest
from facekit.errors import WeightsError
from facekit.models.weight_files import TORCH, UNREADABLE, list_shapes, open_checked, read_weights
from facekit.paths import expand, hash_file, project_root, read_file, resolve, write_text

SAMPLE_FILE = Path(__file__).with_name("mobilenet_0.25_synthetic.weights.h5")
BACKBONE_NAME, MODEL_NAME, CARD_NAME = "backbone.weights.h5", "model.keras", "card.json"


def load_weights(model: keras.Model, name: str, source: str, alpha: float = 1.0) -> None:
    """Load weights into a backbone of backbones.build.

    The input size may differ from the one that the weights were trained at; network, width and, for another run's weights, the
    preprocessing must be the same. Layers that a file leaves out at the network's end keep their random weights.

    Args:
        model, name, alpha: the backbone, its row of backbones.BACKBONES, and MobileNet's width.
        source: `none` (random), `imagenet`, `sample` (the small MobileNet in this repository), `run:PROFILE/TASK`, or a
            file: .h5, for ResNet18 also .pth and .safetensors.

    Raises:
        WeightsError: missing (with where to get it), damaged, not to be trusted, or not of this network.
    """
    path = _download_imagenet(model, name, alpha) if source == "imagenet" else find_file(source)
    if path is None:
        return
    if path.suffix in TORCH and name != "ResNet18":
        raise WeightsError(f"{path}: a PyTorch file for {name}", expected="a .weights.h5 file; PyTorch's for ResNet18 only")
    if source == "imagenet" and path.suffix not in TORCH:
        with open_checked(path):
            return model.load_weights(path)  # which goes by the layers' order: in older files they have other names
    shapes = list_shapes(model.layers)
    arrays = _read_run(path, model, name, alpha) if source.startswith("run:") else read_weights(path, shapes)
    for layer in (model.get_layer(name) for name in shapes):
        layer.starts_random = layer.name not in arrays
        if not layer.starts_random:
            layer.set_weights(arrays[layer.name])


def describe(model: keras.Model, name: str, source: str, alpha: float) -> dict:
    """Describe a network's initial weights for the record; arguments as in load_weights."""
    path = _list_imagenet(model, name, alpha)[1] if source == "imagenet" else find_file(source)
    digest = hash_file(path) if path and path.is_file() else None
    return {"source": source, "sha256": digest} | describe_start(model, name)


def describe_start(model: keras.Model, name: str) -> dict:
    """Describe weights from a file that covers a network's first layers, for the record; {} where no layer was left out.

    Returns:
        random: the names of the layers that started at random; start: the same in short, such as `ResNet50, conv1 to conv4
        from the file, conv5 new`.
    """
    layers = [layer for layer in model.layers if hasattr(layer, "starts_random")]
    random, known = ([layer.name for layer in layers if layer.starts_random is part] for part in (True, False))
    if not random:
        return {}
    stages = [list(dict.fromkeys(each.partition("_")[0] for each in names)) for names in (known, random)]
    parts = [known, random] if set(stages[0]) & set(stages[1]) else stages
    old, new = (" to ".join(dict.fromkeys((names[0], names[-1]))) for names in parts)
    return {"random": random, "start": f"{name}, {old} from the file, {new} new"}


def find_file(source: str) -> Path | None:
    """Return the file that `source` stands for (see load_weights), but for `imagenet`; None for `none`."""
    if source == "none":
        return None
    if source.startswith("run:"):
        if not (match := re.fullmatch(r"run:([a-z0-9-]+)/([a-z0-9-]+)", source)):
            raise WeightsError(f"weights {source!r}", expected="run:PROFILE/TASK, such as run:laptop/celeba")
        profile, task = match.groups()
        folder = project_root() / "reports" / profile / task / "model"
        for path in (folder / BACKBONE_NAME, folder / MODEL_NAME):
            if path.is_file():
                return path
        received = f"weights {source}: no saved model in reports/{profile}/{task}/model"
        raise WeightsError(received, hint=f"make it first: make {task} PROFILE={profile}")
    path = SAMPLE_FILE if source == "sample" else resolve(source)
    if not path.is_file():
        expected = "imagenet, none, sample, run:PROFILE/TASK or a file that is there"
        raise WeightsError(f"weights {source!r}: no file {path}", expected=expected)
    return path


def _list_imagenet(model: keras.Model, name: str, alpha: float) -> tuple[FixedFile, Path]:
    """Return the manifest's file of a network's ImageNet weights, and the place at which Keras keeps that of this width."""
    size, width = model.input_shape[1:3], {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}.get(alpha)
    if width is None:
        raise WeightsError(f"imagenet weights of {name} in this width", expected="alpha 0.25, 0.5, 0.75 or 1.0")
    listed = next(file for file in read_manifest("weights").files if file.network == name and file.url)
    # The manifest lists one MobileNet; those of other widths and sizes are in the same folder.
    trained = size[0] if size[0] == size[1] and size[0] in (128, 160, 192, 224) else 224
    file = listed.path.replace("mobilenet_1_0_224", f"mobilenet_{width}_{trained}")
    return listed, expand(os.environ.get("KERAS_HOME") or "~/.keras") / "models" / file


def _download_imagenet(model: keras.Model, name: str, alpha: float) -> Path:
    listed, path = _list_imagenet(model, name, alpha)
    known = (listed.sha256 or listed.md5) if listed.path == path.name else None
    url, folder = listed.url.replace(listed.path, path.name), path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)  # or Keras would take /tmp
        return Path(keras.utils.get_file(path.name, url, cache_dir=folder.parent, cache_subdir="models", file_hash=known))
    # Each kind of network trouble has its own exception; Keras raises a bare one.
    except Exception as error:
        digest = f" ({'sha256' if listed.sha256 else 'md5'} {known})" if known else ""
        received = f"imagenet weights of {name}: cannot download {url} ({error})"
        raise WeightsError(received, hint=f"get {path.name}{digest} on another machine and put it at {path}") from error


def _read_run(path: Path, model: keras.Model, name: str, alpha: float) -> dict[str, list[np.ndarray]]:
    """Read a run's backbone.weights.h5, or the backbone's part of its model.keras."""
    card_path, whole = path.with_name(CARD_NAME), path.name == MODEL_NAME
    try:
        card = json.loads(read_file(card_path))
        sha256 = (card["models"]["model"] if whole else card)["sha256"]
        arrays = read_weights(path, list_shapes(model.layers), sha256=sha256, inside=whole)
        if whole:  # network and width show in the layers themselves
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
            card = {"network": name, "alpha": alpha, "preprocessing": _list_steps(config["config"])}
        received = [card["network"], card["alpha"], card["preprocessing"]]
    except UNREADABLE as error:
        received = f"{card_path}: {type(error).__name__} {error}"
        raise WeightsError(received, expected="the model card that a run writes") from error
    if received != (expected := [name, alpha, _list_steps(model.get_config())]):
        raise WeightsError(f"{path}: weights of {received}", expected=f"{expected}")
    return arrays


def _list_steps(config: dict) -> list[list]:
    """Return what a model's preprocessing layers do, from its configuration: class and numbers."""
    steps = [item for item in config["layers"] if str(item["config"]["name"]).startswith("preprocess_")]
    numbers = [[item["config"].get(key) for key in ("scale", "offset", "mean", "variance")] for item in steps]
    return [[item["class_name"], *(n for n in row if n is not None)] for item, row in zip(steps, numbers, strict=True)]


def save_backbone(model: keras.Model, folder: Path, text: str, **card) -> None:
    """Write a run's backbone for others to start from, its kernels as compressed float16, with its model card.

    Args:
        model: of backbones.build.
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
    known |= {"holds": "backbone", "sha256": hash_file(path), "preprocessing": _list_steps(model.get_config())} | card
    write_text(file, json.dumps(known, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", text)
