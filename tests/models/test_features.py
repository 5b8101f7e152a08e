"""Frozen features: computed once, kept under a key of all that they depend on."""

import numpy as np
import pytest

from facekit.models import backbones, features

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    return tmp_path / "features"


def test_features_are_the_mean_of_the_last_map(folder):
    base = backbones.build("MobileNet", (32, 32), alpha=0.25)
    found = features.extract(base, IMAGES)
    assert found.shape == (5, 256)
    np.testing.assert_allclose(found, base.predict_on_batch(IMAGES.astype(np.float32)).mean(axis=(1, 2)), atol=1e-5)


def test_other_weights_images_or_preprocessing_are_computed_anew(folder, monkeypatch):
    settings = {"name": "MobileNet", "size": (32, 32), "alpha": 0.25, "weights": "sample"}
    base = backbones.build(**settings)
    first = features.extract(base, IMAGES)
    with monkeypatch.context() as patch:
        patch.setattr(features.keras.Model, "predict_on_batch", lambda *_: pytest.fail("computed again"))
        np.testing.assert_array_equal(features.extract(backbones.build(**settings), IMAGES.copy()), first)
    features.extract(backbones.build(**settings, preprocessing="unit"), IMAGES)
    changed = IMAGES.copy()
    changed[4, 31, 31, 2] ^= 1
    features.extract(base, changed)
    base.weights[0].assign(base.weights[0] + 1e-3)
    features.extract(base, IMAGES)
    assert len(list(folder.glob("*.npy"))) == 4


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\1\0v\0"])
def test_damaged_features_are_computed_again(folder, capsys, content):
    base = backbones.build("MobileNet", (32, 32), alpha=0.25)
    first = np.array(features.extract(base, IMAGES))
    (path,) = folder.iterdir()
    path.write_bytes(content or path.read_bytes()[:-4])
    np.testing.assert_array_equal(features.extract(base, IMAGES), first)
    assert f"{path}: damaged (" in capsys.readouterr().err


def test_clusters_find_what_looks_alike():
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(3), 10)
    rows = random.normal(size=(3, 8))[people] + random.normal(0, 0.01, (30, 8))
    found = features.cluster_appearance(rows, 3, seed=0)
    assert len(set(zip(people, found, strict=True))) == 3 == len(set(found))
