"""The drop-in for Keras' ImageDataGenerator: same draws, same images on square images, right on others."""

import inspect
import os
import threading
import warnings

import cv2
import numpy as np
import pytest
from scipy import ndimage

from facekit.data.augment import ImageDataGenerator, draw_seed
from facekit.errors import ParameterError

# Keras' own class still calls SciPy by a name that goes in SciPy 2; it stands here as the reference only.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")

AFFINE = dict(rotation_range=40, width_shift_range=0.3, height_shift_range=0.3, shear_range=20, zoom_range=0.3)
# The arguments of every test beside Keras, named for what they show.
ARGUMENTS = {
    "nothing": dict(),
    "flip": dict(horizontal_flip=True),
    "rotation": dict(rotation_range=180),
    "height_shift": dict(height_shift_range=0.4),
    "width_shift": dict(width_shift_range=0.4),
    "shift_pixels": dict(width_shift_range=7.5, height_shift_range=2.0),
    "shear": dict(shear_range=45),
    "zoom": dict(zoom_range=0.5),
    "zoom_pair": dict(zoom_range=[0.5, 2.0]),
    "affine": AFFINE,
    "everything": dict(AFFINE, horizontal_flip=True, brightness_range=(0.5, 1.0)),
}


@pytest.fixture(scope="module")
def keras_generator():
    """Keras' own class."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TensorFlow's import says is not ours
        import tensorflow as tf
    return tf.keras.preprocessing.image.ImageDataGenerator


def draw_image(height: int = 48, width: int = 48) -> np.ndarray:
    """A smooth image with some noise, whole grey levels from 0 to 255, float32 as Keras takes it."""
    generator = np.random.default_rng(height * width + 3)
    coarse = generator.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return (smooth.astype(int) + generator.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.float32)


def turn_by_definition(image: np.ndarray, theta: float, zx: float, zy: float, mode: str) -> np.ndarray:
    """Turn and zoom about the image's middle, written from the definition: out(row, column) samples the image."""
    height, width, channels = image.shape
    rows, columns = np.mgrid[:height, :width].astype(float)
    across, down = zx * (columns - (width - 1) / 2), zy * (rows - (height - 1) / 2)
    cosine, sine = np.cos(np.radians(theta)), np.sin(np.radians(theta))
    at = [sine * across + cosine * down + (height - 1) / 2, cosine * across - sine * down + (width - 1) / 2]
    return np.stack([ndimage.map_coordinates(image[..., c], at, order=1, mode=mode) for c in range(channels)], axis=2)


def test_the_draws_are_these():
    generator = ImageDataGenerator(**AFFINE, horizontal_flip=True, brightness_range=(0.5, 1.5))
    drawn = generator.get_random_transform((100, 100, 3), seed=0)
    assert drawn == {
        "theta": pytest.approx(3.905080),
        "tx": pytest.approx(12.911362),
        "ty": pytest.approx(6.165803),
        "shear": pytest.approx(1.795327),
        "zx": pytest.approx(0.954193),
        "zy": pytest.approx(1.087536),
        "flip_horizontal": True,
        "brightness": pytest.approx(1.463663),
    }


@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_the_draws_are_those_of_keras(keras_generator, name):
    ours, theirs = ImageDataGenerator(**ARGUMENTS[name]), keras_generator(**ARGUMENTS[name])
    for seed in range(20):
        drawn = theirs.get_random_transform((48, 48, 3), seed)
        assert (drawn.pop("flip_vertical"), drawn.pop("channel_shift_intensity")) == (False, None)
        assert ours.get_random_transform((48, 48, 3), seed) == drawn


@pytest.mark.parametrize("kind", ["float32", "uint8"])
@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_square_images_are_those_of_keras(keras_generator, name, kind):
    ours, theirs = ImageDataGenerator(**ARGUMENTS[name]), keras_generator(**ARGUMENTS[name])
    image = draw_image().astype(kind)
    changed = 0
    for seed in range(6):
        expected, got = theirs.random_transform(image, seed), ours.random_transform(image, seed)
        assert got.dtype == expected.dtype
        assert np.abs(got.astype(float) - expected.astype(float)).max() <= 1
        changed += not np.array_equal(got, image)
    assert (changed > 0) == (name != "nothing")


@pytest.mark.parametrize("brightness_range", [(0.2, 1.0), (1.0, 2.0)])
def test_brightness_is_that_of_keras(keras_generator, brightness_range):
    image = draw_image()
    arguments = dict(brightness_range=brightness_range)
    for seed in range(5):
        expected = keras_generator(**arguments).random_transform(image, seed)
        assert np.allclose(ImageDataGenerator(**arguments).random_transform(image, seed), expected, atol=1e-3)


def test_brightness_halves_levels_and_cuts_off_the_fraction():
    image = np.array([[[255, 101, 0]]], np.float32)
    assert ImageDataGenerator().apply_transform(image, brightness=0.5).tolist() == [[[127, 50, 0]]]
    assert ImageDataGenerator().apply_transform(image, brightness=1.5).tolist() == [[[255, 151, 0]]]


def test_constant_is_that_of_keras_where_the_sampled_point_is_inside(keras_generator):
    arguments = dict(AFFINE, fill_mode="constant")
    image = draw_image()
    inside_of = ImageDataGenerator(**arguments)
    for seed in range(8):
        expected, got = (each(**arguments).random_transform(image, seed) for each in (keras_generator, ImageDataGenerator))
        # A image of ones becomes less than one wherever the border has a share.
        share = inside_of.random_transform(np.ones_like(image), seed)
        assert 0.1 < (share > 0.999).mean() < 1
        assert np.abs(got - expected)[share > 0.999].max() <= 1
        assert got[share < 0.001].max() < 0.5


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("height, width", [(60, 40), (41, 72), (218, 178)])
def test_images_that_are_not_square_turn_about_their_middle(kind, height, width):
    image, generator = draw_image(height, width).astype(kind), ImageDataGenerator(fill_mode="nearest")
    half_turn = generator.apply_transform(image, theta=180)
    assert np.abs(half_turn.astype(float) - image[::-1, ::-1]).max() <= 1
    for theta, zx, zy in [(20, 1, 1), (-75, 0.8, 1.3), (0, 0.5, 1), (130, 2, 2)]:
        got = generator.apply_transform(image, theta=theta, zx=zx, zy=zy)
        expected = turn_by_definition(image.astype(float), theta, zx, zy, "nearest")
        assert np.abs(got - expected).max() <= 1


def test_keras_turns_other_images_about_another_point(keras_generator):
    """If this fails, Keras was mended, and what our docstring says of it is out of date."""
    image = draw_image(218, 178)
    half_turn = keras_generator(fill_mode="constant").apply_transform(image, {"theta": 180})
    moved = image[177::-1, 177:39:-1]  # turned, and 40 pixels up and to the right
    assert np.abs(half_turn[:178, 40:] - moved).max() <= 1
    assert half_turn[178:].max() == half_turn[:, :40].max() == 0


def test_shifts_move_as_in_keras_by_a_fraction_of_the_side_along_which_they_move():
    height, width = 100, 200
    sideways = ImageDataGenerator(height_shift_range=0.5)
    drawn = [sideways.get_random_transform((height, width, 3), seed) for seed in range(300)]
    assert 95 < max(abs(each["tx"]) for each in drawn) <= 100
    assert {each["ty"] for each in drawn} == {0}
    drawn = [ImageDataGenerator(width_shift_range=0.5).get_random_transform((height, width, 3), s) for s in range(300)]
    assert 47 < max(abs(each["ty"]) for each in drawn) <= 50
    dot = np.zeros((9, 15, 3), np.float32)
    dot[4, 7] = 100
    moved = ImageDataGenerator().apply_transform(dot, tx=3, ty=-2)
    assert np.argwhere(moved[..., 0] == 100).tolist() == [[6, 4]]


def test_nothing_drawn_leaves_the_image_as_it_is():
    image = draw_image()
    before = image.copy()
    assert np.array_equal(ImageDataGenerator().random_transform(image, 0), before)
    ImageDataGenerator(**ARGUMENTS["everything"]).random_transform(image, 0)
    assert np.array_equal(image, before)


def test_draws_come_from_the_seed_alone():
    generator = ImageDataGenerator(**AFFINE)
    np.random.seed(7)  # noqa: NPY002 - that this has no influence is what is tested
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = generator.get_random_transform((9, 9, 3), 5)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    generator.get_random_transform((9, 9, 3), 6)
    assert generator.get_random_transform((9, 9, 3), 5) == first
    assert generator.get_random_transform((9, 9, 3)) != generator.get_random_transform((9, 9, 3))


def test_threads_draw_the_same_as_one():
    generator, images = ImageDataGenerator(**ARGUMENTS["everything"]), [draw_image()] * 40
    expected = [generator.random_transform(image, seed) for seed, image in enumerate(images)]
    got = [None] * 40

    def work(start: int) -> None:
        for seed in range(start, 40, 4):
            got[seed] = generator.random_transform(images[seed], seed)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_draw_seed_differs_in_every_part_and_does_not_move():
    assert draw_seed(3, 1, 4, 1) == 1712338692
    keys = [(s, e, r, c) for s in range(6) for e in range(6) for r in range(12) for c in range(3)]
    assert len({draw_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= draw_seed(*key) < 2**32 for key in keys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (dict(fill_mode="reflect"), "nearest, constant"),
        (dict(zoom_range=[1, 2, 3]), "two numbers"),
        (dict(zoom_range="0.2"), "two numbers"),
        (dict(brightness_range=0.2), "two numbers"),
        (dict(width_shift_range=[1, 2]), "a number"),
        (dict(rotation_range="40"), "a number"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(arguments, told):
    with pytest.raises(ParameterError, match=told) as caught:
        ImageDataGenerator(**arguments)
    assert next(iter(arguments)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_is_refused():
    with pytest.raises(ParameterError, match="one image at a time"):
        ImageDataGenerator().random_transform(np.zeros((2, 8, 8, 3)), 0)


def test_every_argument_is_one_of_keras_with_the_same_default(keras_generator):
    ours, theirs = (inspect.signature(each).parameters for each in (ImageDataGenerator, keras_generator))
    assert {p.name: p.default for p in ours.values()}.items() <= {p.name: p.default for p in theirs.values()}.items()
