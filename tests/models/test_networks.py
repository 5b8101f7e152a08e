"""networks.py: every network that a run will build, and the files of its weights, are checked before a kernel starts."""

import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from facekit.errors import ParameterError
from facekit.models import backbones, networks, weight_files
from facekit.paths import project_root
from facekit.reporting import parameters
from facekit.reporting.parameters import PROFILES, list_tasks, merge

RUN = "run:laptop/celeba"


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.setattr(parameters, "_check_path", lambda name, value: None)  # the data need not be here


def test_what_is_known_of_each_network_is_what_keras_builds(built):
    assert set(networks.NETWORKS) == set(backbones.BACKBONES)
    for name, (smallest, layers, layer, channels) in networks.NETWORKS.items():
        model = built(name)
        assert model.input_shape[1:3] == (smallest, smallest)
        assert layers == sum(not layer.name.startswith(backbones.PREFIX) for layer in model.layers)
        assert max(model.get_layer(layer).weights[0].shape) == channels
        others = [row[2] for other, row in networks.NETWORKS.items() if other != name]
        assert not set(others) & {each.name for each in model.layers if each.weights}


def test_the_projects_own_profiles_can_be_built(monkeypatch):
    if not (project_root().parent / "shared" / "weights").is_dir():
        monkeypatch.setattr(networks, "find_file", lambda source: None)
    for task in list_tasks():
        for profile in PROFILES:
            assert merge(task, profile)["profile"] == profile


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("smile backbone=InceptionV3", "alpha = 0.25 for InceptionV3; expected 1.0; others for MobileNet only"),
        ("smile backbone=InceptionV3 alpha=1 weights=none input_size=75", "images of 48 pixels for InceptionV3; expected 75"),
        ("smile frozen_layers=87", "frozen_layers = 87 for MobileNet; expected -1 to 86, its layers"),
        ("smile weights=", "weights = '': .* is no file; expected imagenet, none, sample"),
        ("gender-size other_weights=", "other_weights = '': .* is no file; expected imagenet"),
        ("smile alpha=1", "weights = 'sample', weights of MobileNet of width 0.25; expected those of MobileNet of width 1"),
        ("smile alpha=0.3 weights=imagenet", "weights = 'imagenet' with alpha = 0.3; expected one of 0.25, 0.5, 0.75, 1.0"),
        (f"smile weights={RUN}", "weights of MobileNet of width 1; expected those of MobileNet of width 0.25"),
        (f"smile compare_weights={RUN}", "compare_weights = 'run:laptop/celeba'"),
        ("age backbone=ResNet50 alpha=1 weights=none other_weights=sample", "other_weights = 'sample'"),
        ("gender backbone=ResNet50 alpha=1", "weights = 'sample'"),
        ("gender input_width=32 backbone=InceptionV3 alpha=1 weights=none", "images of 32 pixels"),
        ("gender-size other_backbone=InceptionV3", "images of 52 pixels for InceptionV3; expected 75 pixels or more"),
        ("gender-size other_weights=sample", "weights of MobileNet of width 0.25; expected those of ResNet18"),
        ("celeba-networks alpha=1", "mobilenet_weights = 'sample', weights of MobileNet of width 0.25"),
        ("celeba-networks grid_networks=MobileNet,InceptionV3", "images of 32 pixels for InceptionV3"),
        ("celeba-networks weights=imagenet frozen_layers=86", "frozen_layers = 86 for ResNet18; expected -1 to 85"),
        (f"celeba-networks weights={RUN}", "weights of MobileNet of width 1; expected those of ResNet18"),
        ("celeba input_size=72", r"input_size = \[72\]; expected height and width"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_in_one_line(settings, told):
    task, *words = settings.split()
    with pytest.raises(ParameterError, match=told) as caught:
        merge(task, "sample", words)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "settings",
    [
        f"smile weights={RUN} alpha=1",
        "smile weights=imagenet alpha=0.5 frozen_layers=86",
        "celeba-networks frozen_layers=86",  # nothing is frozen of a network that begins at random
        "gender-size other_weights=imagenet alpha=0.25",
    ],
)
def test_what_can_be_built_is_let_through(settings):
    task, *words = settings.split()
    assert merge(task, "sample", words)


def write_layers(path, network, width=1.0, filters=None):
    """Write a file of Keras 3 with the early layer by which a network is known."""
    *_, layer, channels = networks.NETWORKS[network]
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/any/vars")
        group.attrs["name"] = layer
        group.create_dataset("0", data=np.zeros((1, 1, 3, int(channels * width)), "f4"), **(filters or {}))


class Evil:
    def __reduce__(self):
        return os.system, ("touch was-run",)


def write_pickle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"conv1.weight": Evil()}, protocol=2))


RESNET18 = {"layer1.0.conv1.weight": np.zeros((64, 64, 3, 3), np.float32)}
FILES = {
    "own.weights.h5": lambda path: write_layers(path, "MobileNet", 0.25),
    "wide.weights.h5": lambda path: write_layers(path, "MobileNet", 0.5),
    "resnet50.h5": lambda path: write_layers(path, "ResNet50"),
    "inception.keras": lambda path: path.write_bytes(b"PK no archive"),
    "own.safetensors": lambda path: save_file(RESNET18, path),
    "flat.safetensors": lambda path: save_file({"layer1.0.conv1.weight": np.array(1.0)}, path),
    "other.safetensors": lambda path: save_file({"a.weight": np.zeros(3)}, path),
    "notes.txt": lambda path: path.write_text("weights"),
    "empty.h5": lambda path: path.touch(),
    "empty.pth": lambda path: path.touch(),
    "evil.pth": write_pickle,
    "folder.h5": lambda path: path.mkdir(),
    "packed.h5": lambda path: write_layers(path, "MobileNet", 0.25, {"scaleoffset": 3}),
}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("smile weights=own.weights.h5", ""),
        ("smile compare_weights=own.weights.h5", ""),
        ("gender weights=own.weights.h5 compare_weights=own.weights.h5", ""),
        ("gender resnet50_weights=resnet50.h5", ""),
        ("selfie-auxiliary backbone=ResNet18 alpha=1 weights=own.safetensors", ""),
        ("smile weights=wide.weights.h5", "MobileNet of width 0.5; expected those of MobileNet of width 0.25"),
        ("smile weights=resnet50.h5", "weights of ResNet50 of width 1; expected those of MobileNet of width 0.25"),
        ("smile weights=own.safetensors", "weights of ResNet18 of width 1; expected those of MobileNet"),
        ("age other_weights=resnet50.h5", "weights of ResNet50"),
        ("gender resnet50_weights=notes.txt", "cannot be read .*; expected a .h5 or .keras file"),
        ("gender compare_weights=inception.keras", "cannot be read .*; expected a .h5 or .keras file"),
        ("smile compare_weights=empty.h5", "cannot be read"),
        ("smile resnet50_weights=own.weights.h5", "weights of MobileNet of width 0.25; expected those of ResNet50 of width 1"),
        ("smile weights=empty.pth", "expected a state dictionary of tensors and nothing else"),
        ("smile weights=evil.pth", "it names (posix|nt).system; expected a state dictionary"),
        ("smile weights=flat.safetensors", "weights of ResNet18 of width 0"),
        ("smile weights=other.safetensors", "weights of another network; expected those of MobileNet"),
        ("smile weights=folder.h5", "is no file"),
        ("smile weights=lost.h5", "is no file; expected imagenet, none, sample"),
        ("smile weights=packed.h5", "packed by a filter other than gzip and shuffle"),
    ],
)
def test_a_file_of_weights_is_opened_before_a_kernel_starts(tmp_path, monkeypatch, settings, told):
    monkeypatch.chdir(tmp_path)
    for name, write in FILES.items():
        write(tmp_path / name)
    task, *words = settings.split()
    if not told:
        assert merge(task, "sample", words)
        return
    name, _, value = words[-1].partition("=")
    with pytest.raises(ParameterError, match=f"{name} = '.*{value}'.*{told}") as caught:
        merge(task, "sample", words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("{", "card.json.*; expected a JSON file"),
        ("[]", "card.json.*; expected network, alpha, preprocessing and sha256"),
        ('{"models": {"model": []}}', "card.json.*; expected network, alpha, preprocessing and sha256"),
        ('{"network": [], "alpha": {}, "preprocessing": 1, "sha256": 1}', "expected 1; damaged"),
        (None, "backbone.weights.h5 is no file; .*run:PROFILE/TASK of a run that saved its backbone"),
    ],
)
def test_a_run_with_a_damaged_card_or_without_a_backbone_is_one_line(tmp_path, monkeypatch, card, told):
    monkeypatch.setattr(weight_files, "project_root", lambda: tmp_path)
    folder = tmp_path / "reports" / "laptop" / "celeba" / "model"
    folder.mkdir(parents=True)
    if card is not None:
        write_layers(folder / "backbone.weights.h5", "MobileNet")
        (folder / "card.json").write_text(card)
    with pytest.raises(ParameterError, match=f"weights = '{RUN}': .*{told}"):
        merge("smile", "sample", [f"weights={RUN}"])
