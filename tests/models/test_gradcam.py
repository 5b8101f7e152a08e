"""Grad-CAM on a network whose answer is known by hand, and where its map lies on the image."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from facekit.errors import ParameterError
from facekit.models import gradcam
from facekit.models.backbones import build
from facekit.models.gradcam import _locate, compute, overlay


def make_model(units, activation, kernel):
    """A 1x1 convolution that passes the three colours on, their averages, and a head with a known kernel."""
    images = keras.Input((4, 6, 3), name="images")
    x = keras.layers.Conv2D(3, 1, name="colours")(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, {"head": keras.layers.Dense(units, activation, name="head")(x)})
    model.get_layer("colours").set_weights([np.eye(3).reshape(1, 1, 3, 3), np.zeros(3)])
    model.get_layer("head").set_weights([np.asarray(kernel), np.zeros(units)])
    return model


@pytest.fixture
def images():
    """One image with red at the upper left and half as much at the lower right, and green at the upper right."""
    image = np.zeros((1, 4, 6, 3), np.float32)
    image[0, 0, 0, 0], image[0, 3, 5, 0], image[0, 0, 5, 1] = 8, 4, 2
    return image


def test_softmax_head_points_at_each_class(images):
    model = make_model(2, "softmax", [[1, 0], [0, 1], [0, 0]])
    red, green = (compute(model, images, index)[0] for index in (0, 1))
    assert red.shape == (4, 6)
    assert red.dtype == np.float32
    assert (red[0, 0], red[3, 5], red[0, 5], red.sum()) == (1, 0.5, 0, 1.5)
    assert (green[0, 5], green.sum()) == (1, 1)


def test_without_a_class_the_predicted_one_is_explained(images):
    model = make_model(2, "softmax", [[1, 0], [0, 1], [0, 0]])
    green = images[..., [1, 0, 2]]
    np.testing.assert_array_equal(
        compute(model, np.concatenate([images, green])), compute(model, np.concatenate([images, green]), [0, 1])
    )
    binary = make_model(1, "sigmoid", [[1], [-1], [0]])
    np.testing.assert_array_equal(compute(binary, images), compute(binary, images, 1))
    np.testing.assert_array_equal(compute(binary, green), compute(binary, green, 0))


def test_sure_prediction_keeps_its_map(images):
    model = make_model(2, "softmax", [[1e4, 0], [0, 1], [0, 0]])
    assert model.predict_on_batch(images)["head"][0, 0] == 1
    assert compute(model, images, 0)[0, 3, 5] == 0.5


def test_binary_head_has_two_sides(images):
    model = make_model(1, "sigmoid", [[1], [-1], [0]])
    yes, no = compute(model, images, 1)[0], compute(model, images, 0)[0]
    assert (yes[0, 0], yes[0, 5]) == (1, 0)
    assert (no[0, 0], no[0, 5]) == (0, 1)


def test_regression_head_and_a_map_of_nothing(images):
    model = make_model(1, "linear", [[-1], [0], [0]])
    assert compute(model, images).max() == 0
    model.get_layer("head").set_weights([np.array([[0.0], [3], [0]]), np.zeros(1)])
    assert compute(model, images, 0)[0, 0, 5] == 1


def test_batches_and_a_class_for_each_image(images):
    model = make_model(2, "sigmoid", [[1, 0], [0, 1], [0, 0]])
    maps = compute(model, np.repeat(images, 70, axis=0), np.arange(70) % 2)
    assert maps[:, 0, 0].tolist() == [1, 0] * 35
    assert maps[:, 0, 5].tolist() == [0, 1] * 35


def test_unknown_output_class_and_layer_are_refused(images):
    model = make_model(1, "sigmoid", [[1], [0], [0]])
    with pytest.raises(ParameterError, match="output head: class 2 to 2; expected 0 to 1"):
        compute(model, images, 2)
    with pytest.raises(ValueError, match="No such layer: smile. Existing layers are"):
        compute(model, images, output="smile")


def test_an_activation_behind_the_head(images):
    model = make_model(2, None, [[1, 0], [0, 1], [0, 0]])
    softmax = keras.layers.Activation("softmax", name="smile")(model.get_layer("head").output)
    wrapped = keras.Model(model.input, softmax)
    np.testing.assert_array_equal(compute(wrapped, images, 0, output="smile"), compute(model, images, 0))


LAYERS = {"MobileNet": "conv_pw_7_relu", "ResNet18": "layer3_1_relu2", "ResNet50": "conv3_block2_out"}
LAYERS |= {"DenseNet121": "pool3_conv", "InceptionV3": "mixed3"}


@pytest.mark.parametrize(("name", "layer"), LAYERS.items())
def test_a_map_lies_on_the_pixels_that_it_was_made_of(name, layer, monkeypatch, size=331):
    for module in ("keras.layers", "keras.src.layers"):  # a maximum of equal values would take the first
        monkeypatch.setattr(f"{module}.MaxPooling2D", keras.layers.AveragePooling2D)
    model = build(name, (size, size), weights="none")
    for weight in (weight for weight in model.weights if "kernel" in weight.name):
        weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:3])))
    shown = model.get_layer(layer).output
    reader = keras.Model(model.inputs[0], shown)
    step, first = _locate(reader, shown)
    pixels, place = tf.fill((1, size, size, 3), 255.0), np.array([shown.shape[2] // 2, shown.shape[1] // 2 - 1])
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        value = tf.reduce_sum(reader(pixels, training=False)[0, place[1], place[0]])
    share = tape.gradient(value, pixels).numpy()[0].sum(axis=2, dtype=float)
    middle = [(share.sum(axis=axis) * np.arange(size)).sum() / share.sum() for axis in (0, 1)]
    np.testing.assert_allclose(first + step * place, middle, atol=0.01)


CHOSEN = [("MobileNet", "conv_pw_11_relu"), ("ResNet50", "conv4_block6_out"), ("InceptionV3", "mixed2")]


@pytest.mark.parametrize(("name", "layer"), CHOSEN)
def test_the_map_has_no_padding_around_it_and_all_branches_of_a_block(name, layer, monkeypatch):
    x = keras.layers.GlobalAveragePooling2D()((base := build(name, (96, 128), weights="none")).output)
    model, chosen = keras.Model(base.input, keras.layers.Dense(2, "softmax")(x)), []
    monkeypatch.setattr(gradcam, "_locate", lambda reader, shown: chosen.append(shown) or _locate(reader, shown))
    compute(model, np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3), dtype=np.uint8), 1)
    assert chosen[0] is model.get_layer(layer).output


def test_a_bright_pixel_is_found_through_strides_that_pad_on_one_side():
    images = x = keras.Input((49, 64, 3))
    for side in ("same", ((0, 1), (0, 1)), "same"):
        x = x if side == "same" else keras.layers.ZeroPadding2D(side)(x)
        x = keras.layers.Conv2D(3, 3, strides=2, padding="same" if side == "same" else "valid", use_bias=False)(x)
    model = keras.Model(images, keras.layers.Dense(2, "softmax", name="head")(keras.layers.GlobalAveragePooling2D()(x)))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):  # each passes on the pixel in its middle alone
            layer.kernel.assign(np.pad(np.ones((1, 1, *layer.kernel.shape[2:])), ((1, 1), (1, 1), (0, 0), (0, 0))))
    model.get_layer("head").set_weights([np.array([[1.0, 0.0]] * 3), np.zeros(2)])
    image = np.zeros((1, 49, 64, 3), np.float32)
    image[0, 14, 31] = 9
    heat = compute(model, image, 0)[0]
    assert np.argwhere(heat == 1).tolist() == [[14, 31]]
    assert (heat[10, 31], heat[14, 27]) == (0.5, 0.5)


@pytest.fixture(scope="module")
def network():
    base = build("MobileNet", (64, 96), weights="sample", alpha=0.25, frozen_layers=-1)
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    heads = {"smile": keras.layers.Dense(2, "softmax", name="smile")(x), "hat": keras.layers.Dense(1, "sigmoid", name="hat")(x)}
    model = keras.Model(base.input, heads)
    # Every feature supports the second class, so that its map is never empty.
    model.get_layer("smile").set_weights([np.tile([0.0, 1.0], (256, 1)), np.zeros(2)])
    return model


def test_a_model_loaded_from_its_file_is_explained_alike(network, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    maps = compute(network, images, 1, output="smile")
    assert maps.shape == (3, 64, 96)
    assert maps.min() >= 0
    assert maps.max(axis=(1, 2)).tolist() == [1] * 3
    keras.Model(network.inputs, network.outputs).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(compute(loaded, images, 1, output="smile"), maps, atol=1e-5)
    assert np.abs(compute(loaded, images, 1, output="hat") - maps).max() > 0.1


def test_shuffled_weights_give_another_map(network):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    other = keras.models.clone_model(network)
    random = np.random.default_rng(1)
    other.set_weights([random.permutation(weight.ravel()).reshape(weight.shape) for weight in network.get_weights()])
    learnt, shuffled = (compute(model, images, 1, output="smile") for model in (network, other))
    assert (np.abs(learnt - shuffled).mean(axis=(1, 2)) > 0.05).all()


def test_overlay_is_the_grey_image_below_the_map_with_a_line_at_one_half():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = (200, 100, 0)
    heat = np.zeros((4, 6))
    assert overlay(image, heat)[[5, 5], [5, 55]].tolist() == [[22, 22, 24], [45, 45, 47]]
    heat[:2] = 1
    laid = overlay(image, heat)
    assert laid.shape == image.shape
    assert laid[5, 5].tolist() == [161, 161, 127]
    white = (laid == 255).all(axis=2)
    assert np.unique(np.nonzero(white)[0]).tolist() == [19]
    assert white[19].all()
