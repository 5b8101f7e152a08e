"""Small saved runs, as record.Run.save_model writes them, for the tests of predict, demo and saved models."""

import hashlib
import json
import sys

import keras
import numpy as np
from keras import layers


def build_network(heads, biases=None, seed=0, size=32):
    """A small network: head -> (units, activation); with biases it predicts them for every image."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((size, size, 3), name="images")
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(images))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    model = keras.Model(images, [layers.Dense(units, kind, name=name)(x) for name, (units, kind) in heads.items()])
    for name, bias in (biases or {}).items():
        kernel = model.get_layer(name).kernel
        model.get_layer(name).set_weights([np.zeros(kernel.shape), np.array(bias)])
    return model


def save_run(folder, models, **card):
    """Write a run's model/: name -> (network, its entry in the card)."""
    (folder / "model").mkdir(parents=True)
    entries = {}
    for name, (model, entry) in models.items():
        path = folder / "model" / f"{name}.keras"
        model.save(path)
        entries[name] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | entry
    card = {"dataset": "selfie", "kind": "photographs"} | card
    (folder / "model" / "card.json").write_text(json.dumps(card | {"models": entries}))
    return folder


def invert_sigmoid(*probabilities):
    return [float(np.log(p / (1 - p))) for p in probabilities]


LABELS = ["Hat", "Eyeglasses", "Pale_Skin", "5_o_Clock_Shadow"]
HEADS = {"popularity": (1, None), "is_female": (1, "sigmoid"), "worn": (4, "sigmoid"), "smile": (3, "softmax")}


def save_every_kind(folder):
    """A run whose network has every kind of output and predicts the same for every image."""
    biases = {"popularity": [4.25], "is_female": invert_sigmoid(0.25), "worn": invert_sigmoid(0.9, 0.4, 0.6, 0.1)}
    biases["smile"] = np.log([0.2, 0.7, 0.1]).tolist()
    heads = {"worn": LABELS, "smile": ["none", "positive", "negative"], "is_female": ["is_female"]}
    entry = {"heads": heads, "thresholds": {"worn": [0.5, 0.3, 0.7, 0.5]}}
    return save_run(folder, {"model": (build_network(HEADS, biases), entry)})


def forget_facekit(patch):
    """Let no facekit be imported, and none of its classes be known to Keras, as where it is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "facekit"]:
        patch.setitem(sys.modules, name, None)
    for name in list(known := keras.saving.get_custom_objects()):
        patch.delitem(known, name)
