"""A look inside: filters, feature maps, and Grad-CAM on a network whose answer is known by hand."""

import keras
import numpy as np
import pytest

from facekit.errors import ParameterError
from facekit.explain import compute_gradcam, read_activations, read_filters
from facekit.models import Head, ModelSpec, build_model


def make_model(units, activation, kernel, auxiliary=False):
    """A 1x1 convolution that passes the three colours on, their averages, and a head with a known kernel."""
    pictures = keras.Input((4, 6, 3), name="pictures")
    x = keras.layers.Conv2D(3, 1, name="colours")(pictures)
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    inputs = pictures
    if auxiliary:
        inputs = {"pictures": pictures, "auxiliary": keras.Input((2,), name="auxiliary")}
        x = keras.layers.Concatenate()([x, inputs["auxiliary"]])
        kernel = np.concatenate([kernel, np.ones((2, units))])
    model = keras.Model(inputs, {"head": keras.layers.Dense(units, activation, name="head")(x)})
    model.get_layer("colours").set_weights([np.eye(3).reshape(1, 1, 3, 3), np.zeros(3)])
    model.get_layer("head").set_weights([np.asarray(kernel), np.zeros(units)])
    return model


@pytest.fixture
def pictures():
    """One picture with red at the upper left and half as much at the lower right, and green at the upper right."""
    picture = np.zeros((1, 4, 6, 3), np.float32)
    picture[0, 0, 0, 0], picture[0, 3, 5, 0], picture[0, 0, 5, 1] = 8, 4, 2
    return picture


def test_softmax_head_points_at_each_class(pictures):
    model = make_model(2, "softmax", [[1, 0], [0, 1], [0, 0]])
    red, green = (compute_gradcam(model, pictures, "head", index)[0] for index in (0, 1))
    assert red.shape == (4, 6)
    assert red.dtype == np.float32
    assert (red[0, 0], red[3, 5], red[0, 5], red.sum()) == (1, 0.5, 0, 1.5)
    assert (green[0, 5], green.sum()) == (1, 1)


def test_sure_prediction_keeps_its_map(pictures):
    model = make_model(2, "softmax", [[1e4, 0], [0, 1], [0, 0]])
    assert model.predict_on_batch(pictures)["head"][0, 0] == 1
    assert compute_gradcam(model, pictures, "head", 0)[0, 3, 5] == 0.5


def test_binary_head_has_two_sides(pictures):
    model = make_model(1, "sigmoid", [[1], [-1], [0]])
    yes = compute_gradcam(model, pictures, "head", 1)[0]
    no = compute_gradcam(model, pictures, "head", 0)[0]
    assert (yes[0, 0], yes[0, 5]) == (1, 0)
    assert (no[0, 0], no[0, 5]) == (0, 1)


def test_regression_head_and_a_map_of_nothing(pictures):
    model = make_model(1, "linear", [[-1], [0], [0]])
    assert compute_gradcam(model, pictures, "head").max() == 0
    model.get_layer("head").set_weights([np.array([[0.0], [3], [0]]), np.zeros(1)])
    assert compute_gradcam(model, pictures, "head")[0, 0, 5] == 1


def test_batches_and_a_class_for_each_picture(pictures):
    model = make_model(2, "sigmoid", [[1, 0], [0, 1], [0, 0]])
    many = np.repeat(pictures, 5, axis=0)
    maps = compute_gradcam(model, many, "head", np.array([0, 1, 0, 1, 1]), batch_size=2)
    assert maps[:, 0, 0].tolist() == [1, 0, 1, 0, 0]
    assert maps[:, 0, 5].tolist() == [0, 1, 0, 1, 1]
    assert compute_gradcam(model, many[:0], "head").shape == (0, 4, 6)


def test_auxiliary_input_goes_along(pictures):
    model = make_model(1, "linear", [[1], [0], [0]], auxiliary=True)
    inputs = {"pictures": pictures, "auxiliary": np.ones((1, 2), np.float32)}
    assert compute_gradcam(model, inputs, "head")[0, 0, 0] == 1
    assert read_activations(model, inputs, ["colours"])["colours"].shape == (1, 4, 6, 3)


def test_unknown_head_class_and_layer_are_refused(pictures):
    model = make_model(1, "sigmoid", [[1], [0], [0]])
    with pytest.raises(ParameterError, match="head 'smile'; expected one of head"):
        compute_gradcam(model, pictures, "smile")
    with pytest.raises(ParameterError, match="head head: class 2 to 2; expected 0 to 1"):
        compute_gradcam(model, pictures, "head", 2)
    with pytest.raises(ParameterError, match="layer 'conv9'"):
        read_activations(model, pictures, ["conv9"])


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    head = Head("smile", "multi-class", ("none", "smile"))
    model = build_model(ModelSpec("MobileNet", (64, 96), (head,), alpha=0.25, frozen_layers=-1))
    # Every feature speaks for the second class, so that its map is never empty.
    model.get_layer("smile").set_weights([np.tile([0.0, 1.0], (256, 1)), np.zeros(2)])
    return model


def test_random_weights_give_another_map(network):
    """A map that does not hang on the weights is an edge detector (Adebayo et al., https://arxiv.org/abs/1810.03292)."""
    pictures = np.random.default_rng(0).normal(size=(3, 64, 96, 3)).astype(np.float32)
    first = compute_gradcam(network, pictures, "smile", 1)
    np.testing.assert_array_equal(first, compute_gradcam(network, pictures, "smile", 1))
    before = network.get_weights()
    random = np.random.default_rng(1)
    network.set_weights([random.permutation(weight.ravel()).reshape(weight.shape) for weight in before])
    second = compute_gradcam(network, pictures, "smile", 1)
    network.set_weights(before)
    assert first.shape == (3, 64, 96)
    assert first.min() >= 0
    assert first.max(axis=(1, 2)).tolist() == second.max(axis=(1, 2)).tolist() == [1, 1, 1]
    assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.9 for a, b in zip(first, second, strict=True))


def test_filters_and_feature_maps(network):
    filters = read_filters(network)
    assert filters.shape == (8, 3, 3, 3)
    assert filters.min(axis=(1, 2, 3)).tolist() == [0] * 8
    assert filters.max(axis=(1, 2, 3)).tolist() == [1] * 8
    kernel = network.get_layer("conv1").kernel.numpy()
    assert filters[5].argmax() == kernel[..., 5].argmax()
    pictures = np.zeros((5, 64, 96, 3), np.float32)
    maps = read_activations(network, pictures, ["conv1_relu", "pooled"], batch_size=2)
    assert {name: values.shape for name, values in maps.items()} == {"conv1_relu": (5, 32, 48, 8), "pooled": (5, 256)}
