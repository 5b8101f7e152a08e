"""The small network of profile sample: its faces, and the committed file is what its command makes."""

import json
from functools import partial

import numpy as np

from facekit.models import backbones
from facekit.models.weight_files import SAMPLE_FILE
from facekit.paths import hash_file
from facekit.synthetic import pretrain
from facekit.synthetic.pretrain import ALPHA, SIZE, draw_faces, train_sample_backbone


def test_faces_come_with_their_traits_and_in_parts():
    images, traits = draw_faces(6, 48, seed=4)
    assert images.shape == (6, 48, 48, 3) and images.dtype == np.uint8
    assert traits.shape == (6, 68) and set(np.unique(traits)) == {0, 1}
    part, rest = draw_faces(2, 48, seed=4, start=4)
    assert np.array_equal(part, images[4:]) and rest.to_numpy().tolist() == traits.iloc[4:].to_numpy().tolist()
    assert not np.array_equal(draw_faces(2, 48, seed=5)[0], images[:2])


def test_the_command_writes_weights_that_load(tmp_path, monkeypatch, untraced):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "made" / "sample.weights.h5"
    monkeypatch.setattr(pretrain, "SIZE", (32, 32))  # small faces and the last layers are learnt sooner
    monkeypatch.setattr(backbones, "build", partial(backbones.build, frozen_layers=79))
    made = train_sample_backbone(target, count=60, epochs=1, seed=0)
    assert (target.parent / "SHA256SUMS").read_text() == f"{hash_file(target)}  sample.weights.h5\n"
    assert json.loads((target.parent / "made.json").read_text()) == made
    assert made["validation"]["faces"] == 6
    backbones.build("MobileNet", SIZE, weights=str(target), alpha=ALPHA)


def test_the_committed_weights_are_small_and_beat_the_majority():
    made = json.loads((SAMPLE_FILE.parent / "made.json").read_text())
    assert SAMPLE_FILE.stat().st_size < 1_500_000
    assert made["validation"]["mean_accuracy"] > made["validation"]["majority"] + 0.04
