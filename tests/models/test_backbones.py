"""The table of networks: what each builds, how it preprocesses, what is frozen, and that a saved model needs no facekit."""

import keras
import numpy as np
import pytest
from keras.applications import densenet, imagenet_utils, inception_v3, mobilenet, resnet
from saved_runs import forget_facekit

from facekit.errors import ParameterError
from facekit.models.backbones import BACKBONES, PREFIX, build, describe

# name: parameters, trainable ones, layers as keras.applications lists them, channels, Keras' own preprocessing.
NETWORKS = {
    "ResNet50": (23_587_712, 23_534_592, 175, 2048, resnet.preprocess_input),
    "InceptionV3": (21_802_784, 21_768_352, 311, 2048, inception_v3.preprocess_input),
    "DenseNet121": (7_037_504, 6_953_856, 427, 1024, densenet.preprocess_input),
    "MobileNet": (3_228_864, 3_206_976, 86, 1024, mobilenet.preprocess_input),
    "ResNet18": (11_186_112, 11_176_512, 85, 512, lambda images: imagenet_utils.preprocess_input(images, mode="torch")),
}
LAST_LAYERS = {
    "ResNet50": "conv5_block3_out",
    "InceptionV3": "mixed10",
    "DenseNet121": "relu",
    "MobileNet": "conv_pw_13_relu",
    "ResNet18": "layer4_1_relu2",
}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 75, 75, 3), dtype=np.uint8)


def list_layers(model):
    return [layer for layer in model.layers if not layer.name.startswith(PREFIX)]


def preprocess(model, images):
    first = list_layers(model)[1]  # the layer after the input
    return np.asarray(keras.Model(model.input, first.input)(images.astype(np.float32)))


def cut(model, images=IMAGES):
    """Return the images' upper left corners, of the size that the network takes."""
    return images[:, : model.input_shape[1], : model.input_shape[2]]


def test_table_and_test_name_the_same_networks():
    assert set(BACKBONES) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_flat_and_has_the_published_size(built, name):
    model = built(name)
    parameters, trainable, layers, channels, _ = NETWORKS[name]
    assert model.count_params() == parameters
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert len(list_layers(model)) == layers
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert (model.input.name, model.input_shape[-1], model.output_shape[-1]) == ("images", 3, channels)
    assert model.layers[-1].name == LAST_LAYERS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_preprocessing_in_the_model_is_that_of_keras(built, name):
    images = cut(built(name))
    expected = NETWORKS[name][-1](images.astype(np.float32))
    np.testing.assert_allclose(preprocess(built(name), images), expected, atol=1e-5)


@pytest.mark.parametrize(("preprocessing", "factor"), [("unit", 1 / 255), ("none", 1)])
def test_other_preprocessing_is_the_same_for_every_network(preprocessing, factor):
    model = build("ResNet18", (75, 75), preprocessing=preprocessing)
    np.testing.assert_allclose(preprocess(model, IMAGES), IMAGES * factor, atol=1e-5)
    assert len(list_layers(model)) == NETWORKS["ResNet18"][2]


def test_preprocessing_keeps_32_bits_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build("MobileNet", (32, 32), alpha=0.25)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    image = np.full((1, 32, 32, 3), 100.25, np.float32)
    np.testing.assert_allclose(preprocess(model, image), image / 127.5 - 1, atol=1e-5)
    assert model.get_layer("conv1").compute_dtype == "bfloat16"


def test_counted_layer_names_do_not_depend_on_the_session(built):
    for name in ("InceptionV3", "ResNet50"):
        again = build(name, built(name).input_shape[1:3])
        names = [[operation.name for operation in model.operations] for model in (again, built(name))]
        assert names[0] == names[1]
    assert names[0][1:3] == ["preprocess_rgb_to_bgr", "preprocess_standardize"]
    assert built("InceptionV3").get_layer("conv2d_93").output.shape[-1] == 192


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "VGG16"}, "backbone 'VGG16'; expected one of MobileNet, ResNet18"),
        ({"name": "InceptionV3", "size": (75, 74)}, "images of 74 pixels for InceptionV3; expected 75 pixels or more"),
        ({"name": "ResNet50", "alpha": 0.5}, "alpha = 0.5 for ResNet50"),
        ({"preprocessing": "imagenet"}, "preprocessing 'imagenet'; expected .*unit or none"),
        ({"frozen_batchnorm": "train"}, "frozen_batchnorm 'train'; expected inference or batch"),
        ({"frozen_layers": 87}, "frozen_layers = 87 for MobileNet; expected -1 to 86, its layers"),
    ],
)
def test_what_a_network_does_not_have_is_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        build(**{"name": "MobileNet", "size": (75, 75), **arguments})


@pytest.mark.parametrize(("count", "frozen"), [(0, 0), (37, 22), (86, 54), (-1, 54)])
def test_frozen_layers_count_the_networks_own(count, frozen):
    model = build("MobileNet", (32, 32), alpha=0.25, frozen_layers=count)
    own = list_layers(model)
    taken = [layer for layer in own[: count if count >= 0 else None] if layer.weights]
    assert len(taken) == frozen == describe(model, "MobileNet", weights="none", alpha=0.25)["layers_frozen"]
    assert {layer.trainable for layer in taken} <= {False}
    assert all(layer.trainable for layer in own[count:] if count >= 0)


def add_head(base):
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, keras.layers.Dense(2, "softmax", name="head")(x))


@pytest.mark.parametrize(("mode", "statistics_move"), [("inference", False), ("batch", True)])
def test_frozen_weights_do_not_move_in_fit_and_statistics_only_in_batch_mode(mode, statistics_move):
    base = build("MobileNet", (32, 32), alpha=0.25, frozen_layers=-1, frozen_batchnorm=mode)
    model = add_head(base)
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1), "categorical_crossentropy", run_eagerly=True)
    before = {weight.path: weight.numpy() for weight in model.weights}
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    model.fit(images, np.eye(2)[np.zeros(8, int)], verbose=0)
    moved = {weight.path for weight in model.weights if (weight.numpy() != before[weight.path]).any()}
    assert {path for path in moved if "moving" not in path} == {"head/kernel", "head/bias"}
    assert any("moving" in path for path in moved) == statistics_move


def test_frozen_batchnorm_uses_the_statistics_of_its_mode():
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    for mode, same in (("inference", True), ("batch", False)):
        model = build("MobileNet", (32, 32), alpha=0.25, frozen_layers=-1, frozen_batchnorm=mode)
        training, inference = (np.asarray(model(images, training=each)) for each in (True, False))
        assert np.allclose(training, inference, atol=1e-5) == same


def test_a_network_is_described_for_the_record():
    model = add_head(build("MobileNet", (96, 96), weights="sample", alpha=0.25, frozen_layers=37))
    assert describe(model, "MobileNet", weights="sample", alpha=0.25) == {
        "network": "MobileNet",
        "alpha": 0.25,
        "input_size": [96, 96],
        "weights": {"source": "sample", "sha256": "e6d7cf0eb7716bb2135d3433a77892881cec684143b34e16323b9f3813952d30"},
        "layers_frozen": 22,
        "parameters": 219_058,
        "trainable": 203_458,
    }


def test_a_saved_model_opens_in_safe_mode_without_facekit(built, tmp_path, monkeypatch):
    expected, images = {}, {}
    models = {"whole": add_head(build("MobileNet", (75, 75), alpha=0.25, weights="sample", frozen_layers=10))}
    # Of the others the preprocessing: the rest is Keras' own layers.
    models |= {name: keras.Model(built(name).input, list_layers(built(name))[1].input) for name in NETWORKS}
    for name, model in models.items():
        images[name] = cut(model).astype(np.float32)
        expected[name] = np.asarray(model(images[name]))
        model.save(tmp_path / f"{name}.keras")
    forget_facekit(monkeypatch)
    for name, values in expected.items():
        model = keras.models.load_model(tmp_path / f"{name}.keras", safe_mode=True)
        np.testing.assert_allclose(model(images[name]), values, atol=1e-6)
        assert np.ptp(values) > 0.01


def test_features_of_the_committed_backbone_are_those_it_was_recorded_with(tmp_path, monkeypatch):
    """Literal values, computed with the code that trained it, for a fixed image of noise."""
    from facekit.models import features

    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    found = features.extract(build("MobileNet", (96, 96), weights="run:laptop/celeba"), images)
    assert found.shape == (2, 1024)
    expected = [
        [0.1549485, 0.0, 4.2434335, 0.09407642, 0.0, 1.3060032, 0.0, 0.05016486],
        [0.09206489, 0.0, 4.0399933, 0.05361356, 0.0, 1.5564799, 0.0, 0.13270825],
    ]
    np.testing.assert_allclose(found[:, [0, 100, 200, 300, 500, 700, 281, 456]], expected, atol=1e-4)
