"""The small network of profile sample: the committed file is what its command makes."""

import json

from facekit.backbones import SAMPLE_FILE, build_backbone, load_backbone_weights
from facekit.pretrain import ALPHA, SIZE, train_sample_backbone
from facekit.weights import hash_file


def test_the_command_writes_weights_that_load(tmp_path):
    target = tmp_path / "sample.weights.h5"
    made = train_sample_backbone(target, count=60, epochs=1, seed=0)
    assert (tmp_path / "SHA256SUMS").read_text() == f"{hash_file(target)}  sample.weights.h5\n"
    assert json.loads((tmp_path / "made.json").read_text()) == made
    assert made["validation"]["faces"] == 6
    load_backbone_weights(build_backbone("MobileNet", SIZE, ALPHA), "MobileNet", str(target), alpha=ALPHA)


def test_the_committed_weights_are_small_and_beat_the_majority():
    made = json.loads((SAMPLE_FILE.parent / "made.json").read_text())
    assert SAMPLE_FILE.stat().st_size < 1_500_000
    assert made["validation"]["mean_accuracy"] > made["validation"]["majority"] + 0.04
