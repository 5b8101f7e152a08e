"""A look inside: filters, feature maps, and Grad-CAM on a network whose answer is known by hand."""

import keras
import numpy as np
import pytest

from facekit.errors import ParameterError
from facekit.explain import compare_random_weights, compute_gradcam, overlay_map, read_activations, read_filters
from facekit.models import Dense, Head, ModelSpec, build_model


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
    pictures = np.random.default_rng(0).normal(size=(6, 64, 96, 3)).astype(np.float32)
    before = [weight.copy() for weight in network.get_weights()]
    first = compute_gradcam(network, pictures, "smile", 1)
    assert first.shape == (6, 64, 96)
    assert first.min() >= 0
    assert first.max(axis=(1, 2)).tolist() == [1] * 6
    found = compare_random_weights(network, pictures, "smile", 1, draws=4, seed=0)
    assert found.shape == (4, 6)
    # Not 0: the zeros around the picture shape every map a little.
    assert -0.6 < np.nanmean(found) < 0.6
    np.testing.assert_array_equal(found, compare_random_weights(network, pictures, "smile", 1, draws=4, seed=0))
    assert np.nanmax(np.abs(found - compare_random_weights(network, pictures, "smile", 1, draws=4, seed=1))) > 0.1
    assert all((old == new).all() for old, new in zip(before, network.get_weights(), strict=True))
    np.testing.assert_array_equal(compute_gradcam(network, pictures, "smile", 1), first)


def test_map_that_does_not_hang_on_the_weights_is_found_out():
    """A network of one brightness filter, whose weights are all alike, shows bright places whatever was learnt."""
    pictures = np.random.default_rng(0).uniform(size=(2, 4, 6, 3)).astype(np.float32)
    model = make_model(1, "linear", [[1], [1], [1]])
    model.get_layer("colours").set_weights([np.ones((1, 1, 3, 3)), np.zeros(3)])
    np.testing.assert_allclose(compare_random_weights(model, pictures, "head", draws=2, seed=0), np.ones((2, 2)))
    model.get_layer("head").set_weights([-np.ones((3, 1)), np.zeros(1)])
    assert np.isnan(compare_random_weights(model, pictures, "head", draws=2, seed=0)).all()


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_every_kind_of_head_has_its_map(pooling):
    keras.utils.set_random_seed(0)
    heads = (
        Head("popularity", "regression"),
        Head("is_female", "binary"),
        Head("worn", "multi-label", ("hat", "braces")),
        Head("age", "multi-class", ("young", "middle", "old")),
    )
    spec = ModelSpec("AgeCNN", (32, 32), heads, pooling=pooling, dense=(Dense(8, "relu"),), auxiliary=2)
    model = build_model(spec)
    random = np.random.default_rng(0)
    inputs = {"pictures": random.uniform(size=(3, 32, 32, 3)).astype(np.float32), "auxiliary": np.ones((3, 2), np.float32)}
    maps = {}
    for head in heads:
        classes = 2 if head.kind == "binary" else head.units
        maps[head.name] = np.stack([compute_gradcam(model, inputs, head.name, index) for index in range(classes)])
        assert maps[head.name].shape == (classes, 3, 32, 32)
        assert set(maps[head.name].max(axis=(2, 3)).ravel().tolist()) <= {0, 1}
        found = compare_random_weights(model, inputs, head.name, draws=2, seed=0)
        assert found.shape == (2, 3)
        assert not (found > 0.99).any()
    # What speaks for yes does not speak for no, and each class has a map of its own.
    assert max(np.abs(one[0] - one[1]).max() for one in (maps["is_female"], maps["worn"], maps["age"])) > 0.1
    assert ((maps["is_female"][0] > 0) & (maps["is_female"][1] > 0)).sum() < maps["is_female"][0].size / 2
    assert sum(one.any() for one in maps.values()) == 4


def test_overlay_is_the_grey_picture_below_the_map_with_a_line_at_one_half():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = (200, 100, 0)
    heat = np.zeros((4, 6))
    assert overlay_map(picture, heat)[[5, 5], [5, 55]].tolist() == [[22, 22, 24], [45, 45, 47]]
    heat[:2] = 1
    laid = overlay_map(picture, heat)
    assert laid.shape == picture.shape
    assert laid[5, 5].tolist() == [161, 161, 127]
    white = (laid == 255).all(axis=2)
    assert np.unique(np.nonzero(white)[0]).tolist() == [19]
    assert white[19].all()


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
