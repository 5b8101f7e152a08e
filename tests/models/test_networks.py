"""networks.py: every network that a run will build is checked before a kernel starts."""

import json

import pytest

from facekit.errors import FacekitError, ParameterError
from facekit.models import backbones, networks
from facekit.reporting import parameters
from facekit.reporting.parameters import PROFILES, list_tasks, merge

RUN = "run:laptop/celeba"


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.setattr(parameters, "_check_path", lambda name, value: None)  # the data need not be here


def test_what_is_known_of_each_network_is_what_keras_builds():
    assert set(networks.NETWORKS) == set(backbones.BACKBONES)
    for name, (smallest, layers) in networks.NETWORKS.items():
        assert layers == len(backbones.list_layers(backbones.build(name, (smallest, smallest))))


def test_the_projects_own_profiles_can_be_built():
    for task in list_tasks():
        for profile in PROFILES:
            assert merge(task, profile)["profile"] == profile


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("smile backbone=InceptionV3", "alpha = 0.25 for InceptionV3; expected 1.0; others for MobileNet only"),
        ("smile backbone=InceptionV3 alpha=1 weights=none input_size=75", "images of 48 pixels for InceptionV3; expected 75"),
        ("smile frozen_layers=87", "frozen_layers = 87 for MobileNet; expected -1 to 86, its layers"),
        ("smile weights=", "weights = ''; expected imagenet, none, sample"),
        ("gender-size other_weights=", "other_weights = ''; expected imagenet"),
        ("smile alpha=1", "weights = 'sample', weights of MobileNet of width 0.25; expected those of MobileNet of width 1.0"),
        ("smile alpha=0.3 weights=imagenet", "weights of MobileNet of width 1.0; expected those of MobileNet of width 0.3"),
        (f"smile weights={RUN}", "weights of MobileNet of width 1.0; expected those of MobileNet of width 0.25"),
        (f"smile compare_weights={RUN}", "compare_weights = 'run:laptop/celeba'"),
        ("smile weights=own.pth", "own.pth', weights of ResNet18; expected those of MobileNet of width 0.25"),
        ("smile weights=a/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "weights of ResNet50; expected those of Mob"),
        ("age backbone=ResNet50 alpha=1 weights=none other_weights=sample", "other_weights = 'sample'"),
        ("gender backbone=ResNet50 alpha=1 weights=none", "side_weights = 'sample'"),
        ("gender input_width=32 backbone=InceptionV3 alpha=1 weights=none side_weights=none", "images of 32 pixels"),
        ("gender-size other_backbone=InceptionV3", "images of 52 pixels for InceptionV3; expected 75 pixels or more"),
        ("gender-size other_weights=sample", "weights of MobileNet of width 0.25; expected those of ResNet18"),
        ("celeba-networks grid_networks=MobileNet,InceptionV3", "images of 32 pixels for InceptionV3"),
        ("celeba-networks weights=imagenet frozen_layers=86", "frozen_layers = 86 for ResNet18; expected -1 to 85"),
        (f"celeba-networks weights={RUN} alpha=1", "weights of MobileNet of width 1.0; expected those of ResNet18"),
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
        "selfie-auxiliary backbone=ResNet18 alpha=1 weights=own.pth",
        "selfie-task2 weights=own.weights.h5",
    ],
)
def test_what_can_be_built_is_let_through(settings):
    task, *words = settings.split()
    assert merge(task, "sample", words)


@pytest.mark.parametrize(
    "card", ["[]", "{}", '{"models": 1}', '{"models": {"model": []}}', "{", '{"network": [], "alpha": {}}']
)
def test_a_run_with_a_damaged_card_is_one_of_our_errors(tmp_path, monkeypatch, card):
    monkeypatch.setattr(networks, "project_root", lambda: tmp_path)
    (tmp_path / "reports" / "laptop" / "celeba" / "model").mkdir(parents=True)
    (tmp_path / "reports" / "laptop" / "celeba" / "model" / "card.json").write_text(card)
    with pytest.raises(FacekitError, match="card.json|weights of"):
        merge("smile", "sample", [f"weights={RUN}"])


def test_a_run_that_kept_one_whole_model_says_its_network(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "project_root", lambda: tmp_path)
    (tmp_path / "reports" / "laptop" / "celeba" / "model").mkdir(parents=True)
    path = tmp_path / "reports" / "laptop" / "celeba" / "model" / "card.json"
    path.write_text(json.dumps({"models": {"model": {"network": "MobileNet"}}}))
    assert merge("smile", "sample", [f"weights={RUN}"])
    path.write_text(json.dumps({"models": {"model": {"network": "ResNet50"}}}))
    with pytest.raises(ParameterError, match="weights of ResNet50; expected those of MobileNet of width 0.25"):
        merge("smile", "sample", [f"weights={RUN}"])
