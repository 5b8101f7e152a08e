"""Models: their graph, what is frozen while training, and what comes back from disk."""

import json

import h5py
import keras
import numpy as np
import pytest

from facekit.backbones import BACKBONES, build_backbone, load_backbone_weights, take_backbone
from facekit.errors import ParameterError, WeightsError
from facekit.models import Dense, Head, ModelSpec, build_head_model, build_model, count_parameters, load_model, save_model
from facekit.smallnets import build_autoencoder
from facekit.weights import hash_file

SMILE = Head("smile", "multi-class", ("none", "positive", "negative"))
LOSSES = {"smile": "categorical_crossentropy"}


def make_spec(**changes) -> ModelSpec:
    return ModelSpec(**{"backbone": "MobileNet", "input_size": (32, 32), "heads": (SMILE,), "alpha": 0.25} | changes)


def make_batch(size=32, n=6, seed=0):
    random = np.random.default_rng(seed)
    pictures = random.normal(size=(n, size, size, 3)).astype(np.float32)
    return pictures, {"smile": np.eye(3, dtype=np.float32)[random.integers(3, size=n)]}


def train_step(model, pictures, targets):
    model.compile(keras.optimizers.SGD(0.1), loss=LOSSES, run_eagerly=True)
    model.train_on_batch(pictures, targets)


def copy_weights(layers):
    return {weight.path: weight.numpy().copy() for layer in layers for weight in layer.weights}


def list_moved(before, layers):
    return {weight.path for layer in layers for weight in layer.weights if (before[weight.path] != weight.numpy()).any()}


# --- the graph ---


def test_every_kind_of_head_and_the_auxiliary_input():
    heads = (
        Head("popularity", "regression"),
        Head("is_female", "binary"),
        Head("attributes", "multi-label", ("hat", "braces")),
        Head("age", "multi-class", ("young", "middle", "old")),
    )
    model = build_model(make_spec(heads=heads, auxiliary=7, dense=(Dense(16, "relu", 0.5, True), Dense(8, None))))
    inputs = {"pictures": make_batch()[0], "auxiliary": np.zeros((6, 7), np.float32)}
    outputs = model.predict_on_batch(inputs)
    assert {name: values.shape for name, values in outputs.items()} == {
        "popularity": (6, 1),
        "is_female": (6, 1),
        "attributes": (6, 2),
        "age": (6, 3),
    }
    np.testing.assert_allclose(outputs["age"].sum(axis=1), 1, atol=1e-6)
    assert 0 < outputs["attributes"].min() <= outputs["attributes"].max() < 1
    names = [layer.name for layer in model.layers]
    added = ["dense_1", "dense_1_batchnorm", "dense_1_relu", "dense_1_dropout", "dense_2"]
    assert names[names.index("dense_1") : -4] == added
    assert sorted(names[-4:]) == ["age", "attributes", "is_female", "popularity"]
    assert model.get_layer("dense_1").kernel.shape == (256 + 7, 16)
    assert model.get_layer("dense_2").activation is keras.activations.linear
    inputs["auxiliary"] += 1
    assert np.abs(model.predict_on_batch(inputs)["age"] - outputs["age"]).max() > 1e-4


def test_model_is_flat_and_its_backbone_can_be_taken_out():
    model = build_model(make_spec())
    names = [layer.name for layer in model.layers]
    assert names == [layer.name for layer in build_backbone("MobileNet", (32, 32), 0.25).layers] + ["pooled", "smile"]
    backbone = take_backbone(model)
    assert backbone.layers[-1] is model.get_layer("conv_pw_13_relu")
    assert take_backbone(backbone) is backbone
    # 218,544 of MobileNet 0.25 without top and 256 * 3 + 3 of the head.
    assert count_parameters(model) == {"total": 219_315, "trainable": 213_843, "frozen_layers": 0}


def test_mixed_precision_leaves_the_outputs_in_32_bits():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build_model(make_spec(dense=(Dense(4),)))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.get_layer("dense_1").compute_dtype == "bfloat16"
    assert model.output["smile"].dtype == "float32"
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    probabilities = model.predict_on_batch(make_batch()[0])["smile"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "VGG16"}, "backbone 'VGG16'; expected one of ResNet50"),
        ({"input_size": (31, 32)}, "input size 31x32 for MobileNet; expected at least 32x32"),
        ({"input_size": (32, 4096)}, "at most 2048"),
        ({"alpha": 9.0}, "alpha 9.0; expected at most 2.0"),
        ({"stem_stride": 9}, "stem stride 9; expected 0 to 4"),
        ({"preprocessing": "torch"}, "preprocessing 'torch'; expected one of unit, ResNet50"),
        ({"heads": ()}, "heads none"),
        ({"heads": (SMILE, SMILE)}, "heads smile, smile"),
        ({"heads": (Head("pooled", "binary"),)}, "heads pooled: .* expected names that no layer has"),
        ({"frozen_layers": 87}, "frozen_layers 87; expected -1 to 86, the layers of MobileNet"),
        ({"frozen_layers": -2}, "frozen_layers -2"),
        ({"frozen_layers": "layer4"}, "frozen_layers 'layer4'; expected a layer of MobileNet"),
        ({"frozen_batchnorm": "train"}, "frozen_batchnorm 'train'; expected one of inference, batch"),
        ({"auxiliary": -1}, "auxiliary -1"),
        ({"l2": -1.0}, "l2 -1.0"),
    ],
)
def test_impossible_model_is_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        build_model(make_spec(**changes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Head("Smile", "binary"), "head name 'Smile'"),
        (lambda: Head("smile", "softmax"), "kind 'softmax'; expected one of regression, binary"),
        (lambda: Head("smile", "multi-class", ("one",)), "head smile: 1 classes; expected 2 or more"),
        (lambda: Dense(-1), "dense units -1"),
        (lambda: Dense(1, "swoosh"), "activation 'swoosh'"),
        (lambda: Dense(1, dropout=1.0), "dropout 1.0"),
    ],
)
def test_impossible_head_or_step_is_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_the_age_reports_networks_have_its_parameters():
    dense = (Dense(0, dropout=0.25), Dense(384, dropout=0.5))
    heads = (Head("age", "multi-class", ("YOUNG", "MIDDLE", "OLD")),)
    spec = ModelSpec("AgeCNN", (32, 32), heads, pooling="flatten", dense=dense)
    assert count_parameters(build_model(spec)) == {"total": 682_287, "trainable": 681_897, "frozen_layers": 0}
    autoencoder = build_autoencoder((32, 32))
    assert count_parameters(autoencoder)["total"] == 13_939
    assert autoencoder.get_layer("code").output.shape == (None, 4, 4, 8)
    assert autoencoder.output["reconstruction"].shape == (None, 32, 32, 3)


def test_flattened_features_keep_every_place():
    model = build_model(make_spec(pooling="flatten", input_size=(64, 64)))
    assert model.get_layer("pooled").output.shape == (None, 2 * 2 * 256)
    with pytest.raises(ParameterError, match="pooling 'max'; expected one of average, flatten"):
        make_spec(pooling="max")


def test_heads_alone_compute_what_the_whole_model_does():
    model = build_model(make_spec(dense=(Dense(4),)))
    alone = build_head_model(256, (SMILE,), (Dense(4),))
    alone.set_weights([weight for name in ("dense_1", "smile") for weight in model.get_layer(name).get_weights()])
    pictures = make_batch()[0]
    features = keras.Model(model.input, model.get_layer("pooled").output).predict_on_batch(pictures)
    np.testing.assert_allclose(alone.predict_on_batch(features)["smile"], model.predict_on_batch(pictures)["smile"], atol=1e-6)


# --- what moves while training ---


@pytest.mark.parametrize("name", BACKBONES)
def test_frozen_backbone_stays_and_the_head_moves(name):
    size = BACKBONES[name].minimum_size
    model = build_model(make_spec(backbone=name, input_size=(size, size), alpha=1.0, frozen_layers=-1))
    # From zero even the smallest step shows: random networks say little.
    model.get_layer("smile").set_weights([np.zeros((model.get_layer("pooled").output.shape[-1], 3)), np.zeros(3)])
    before = copy_weights(model.layers)
    train_step(model, *make_batch(size, n=2))
    assert list_moved(before, model.layers) == {"smile/kernel", "smile/bias"}
    assert count_parameters(model)["trainable"] == (model.get_layer("pooled").output.shape[-1] + 1) * 3


@pytest.mark.parametrize(("mode", "statistics_move"), [("inference", False), ("batch", True)])
def test_frozen_batchnorm_in_both_modes(mode, statistics_move):
    # The first 10: pictures, conv1, conv1_bn, relu, conv_dw_1, conv_dw_1_bn, relu, conv_pw_1, conv_pw_1_bn, relu.
    model = build_model(make_spec(frozen_layers=10, frozen_batchnorm=mode))
    before = copy_weights(model.layers)
    pictures, targets = make_batch()
    convolved = np.asarray(model.get_layer("conv1")(pictures))
    train_step(model, pictures, targets)
    moved = list_moved(before, model.layers[:10])
    norms = ("conv1_bn", "conv_dw_1_bn", "conv_pw_1_bn")
    statistics = {f"{name}/moving_{part}" for name in norms for part in ("mean", "variance")}
    assert moved == (statistics if statistics_move else set())
    assert list_moved(before, model.layers[10:]) >= {"conv_dw_2/kernel", "conv_dw_2_bn/gamma", "smile/kernel"}
    assert count_parameters(model)["frozen_layers"] == 6
    if statistics_move:
        expected = 0.01 * convolved.mean(axis=(0, 1, 2))
        np.testing.assert_allclose(model.get_layer("conv1_bn").moving_mean, expected, atol=1e-6)


def test_frozen_batchnorm_in_batch_mode_stays_fixed_in_fit():
    model = build_model(make_spec(frozen_layers=-1, frozen_batchnorm="batch"))
    before = copy_weights(model.layers)
    model.compile("adam", loss=LOSSES)
    model.fit(*make_batch(), batch_size=3, epochs=2, verbose=0)
    moved = list_moved(before, model.layers)
    assert {path.split("/")[1] for path in moved} == {"moving_mean", "moving_variance", "kernel", "bias"}
    assert {path for path in moved if "moving" not in path} == {"smile/kernel", "smile/bias"}
    assert len(moved) == 2 * 27 + 2


def test_frozen_batchnorm_uses_the_statistics_of_its_mode():
    outputs = {}
    for mode in ("inference", "batch"):
        model = build_model(make_spec(frozen_layers=-1, frozen_batchnorm=mode))
        pictures, _ = make_batch()
        training, stored = model(pictures, training=True)["smile"], model(pictures, training=False)["smile"]
        outputs[mode] = np.abs(np.asarray(training) - np.asarray(stored)).max()
    assert outputs["inference"] == 0
    assert outputs["batch"] > 1e-3


def test_layers_before_a_named_stage_are_frozen():
    model = build_model(make_spec(backbone="ResNet18", alpha=1.0, frozen_layers="layer4"))
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable_weights]
    assert len(frozen) == count_parameters(model)["frozen_layers"] == 30
    assert not any(name.startswith("layer4") for name in frozen)
    # torchvision's layer4 has 8,393,728 parameters that train.
    assert count_parameters(model)["trainable"] == 8_393_728 + 512 * 3 + 3


def test_l2_counts_every_trainable_weight_and_nothing_frozen():
    model = build_model(make_spec(frozen_layers=-1, frozen_batchnorm="batch", l2=0.5))
    model.get_layer("smile").set_weights([np.full((256, 3), 0.1), np.full(3, 2.0)])
    assert float(sum(model.losses)) == pytest.approx(0.5 * (768 * 0.01 + 3 * 4), rel=1e-5)
    assert build_model(make_spec()).losses == []


# --- on disk ---


@pytest.fixture(scope="module")
def trained():
    """A model with every feature of a spec, one step away from its random weights."""
    spec = make_spec(
        input_size=(32, 48),
        preprocessing="unit",
        dense=(Dense(0, dropout=0.2), Dense(8, "relu", 0.3, True)),
        heads=(SMILE, Head("popularity", "regression")),
        auxiliary=2,
        frozen_layers="conv_pw_3",
        frozen_batchnorm="batch",
        l2=1e-4,
    )
    model = build_model(spec)
    inputs = {"pictures": np.random.default_rng(0).random((4, 32, 48, 3), np.float32), "auxiliary": np.eye(4, 2)}
    model.compile("adam", loss={"smile": "categorical_crossentropy", "popularity": "mse"}, run_eagerly=True)
    model.train_on_batch(inputs, {"smile": np.eye(4, 3), "popularity": np.ones((4, 1))})
    return model, spec, inputs


@pytest.fixture
def folder(trained, tmp_path):
    save_model(trained[0], trained[1], tmp_path / "model", provenance={"trained on": "Übungsbilder", "rows": 4})
    return tmp_path / "model"


def test_saved_model_comes_back(trained, folder):
    model, spec, inputs = trained
    again, spec_again = load_model(folder)
    assert spec_again == spec
    assert sorted(path.name for path in folder.iterdir()) == ["spec.json", "weights.weights.h5"]
    before, after = model.predict_on_batch(inputs), again.predict_on_batch(inputs)
    assert all(np.array_equal(before[name], after[name]) for name in ("smile", "popularity"))
    assert count_parameters(again) == count_parameters(model)
    # No optimizer in the file: 219,315 numbers and a few in 4 bytes, and HDF5's own.
    assert (folder / "weights.weights.h5").stat().st_size < 1_400_000


def test_description_is_json_without_code(trained, folder):
    content = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    assert content["provenance"] == {"trained on": "Übungsbilder", "rows": 4}
    assert content["sha256"] == hash_file(folder / "weights.weights.h5")
    assert content["preprocessing"] == "unit"
    assert content["spec"]["dense"][0] == {"units": 0, "activation": "relu", "dropout": 0.2, "batchnorm": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preprocessing": "MobileNet"}, "preprocessing MobileNet; expected unit"),
        ({"sha256": "0" * 64}, f"expected {'0' * 64}"),
        ({"spec": {"backbone": "ResNet18", "alpha": 1.0}}, "input_size"),
        ({"spec": {"alpha": 0.5}}, "shape 3x3x3x8; expected 3x3x3x16"),
        ({"spec": {"alpha": "0.25"}}, "valid number"),
        ({"spec": {"alpha": 1e9}}, "alpha 1000000000.0; expected at most 2.0"),
        ({"spec": {"run": "os.system"}}, "Unexpected keyword argument"),
        ({"spec": {"dense": [{"units": 10**9}]}}, "dense units 1000000000"),
        ({"spec": {"dense": []}}, "with 2 unknown layers, such as 'dense_2"),
        ({"spec": {"heads": [{"name": "smile", "kind": "binary", "lambda": "x"}]}}, "Unexpected keyword argument"),
    ],
)
def test_changed_description_is_refused_in_one_line(folder, change, message):
    content = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    spec = change.pop("spec", {})
    content |= change
    content["spec"] = spec if len(spec) == 2 else content["spec"] | spec
    (folder / "spec.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_changed_weights_and_missing_files_are_refused(folder):
    with h5py.File(folder / "weights.weights.h5", "r+") as file:
        file["layers/dense/vars/0"][0, 0] += 1
    with pytest.raises(WeightsError, match="weights.weights.h5: sha256"):
        load_model(folder)
    (folder / "weights.weights.h5").unlink()
    with pytest.raises(WeightsError, match="weights.weights.h5: no such file"):
        load_model(folder)
    (folder / "spec.json").unlink()
    with pytest.raises(WeightsError, match="expected a folder with a saved model"):
        load_model(folder)


def test_backbone_alone_is_small_and_starts_another_run(tmp_path):
    spec = make_spec(alpha=1.0)
    model = build_model(spec)
    save_model(model, spec, tmp_path, provenance={}, backbone_only=True)
    path = tmp_path / "weights.weights.h5"
    assert path.stat().st_size < 7_000_000
    other = build_backbone("MobileNet", (64, 64))
    load_backbone_weights(other, "MobileNet", str(path))
    kernel = model.get_layer("conv_pw_5").kernel.numpy()
    assert np.array_equal(other.get_layer("conv_pw_5").kernel, kernel.astype(np.float16).astype(np.float32))
    variance = other.get_layer("conv1_bn").moving_variance
    assert np.array_equal(variance, model.get_layer("conv1_bn").moving_variance)
    with pytest.raises(WeightsError, match="holds a backbone alone; expected a whole model"):
        load_model(tmp_path)
