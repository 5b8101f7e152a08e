"""One path from a file to uint8 RGB: every kind of picture, and files named for what must happen to them."""

import io
import os
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from facekit import images
from facekit.errors import ParameterError, PictureError
from facekit.images import read_picture, read_pictures, resize_picture

RED, WHITE, BLACK = [255, 0, 0], [255, 255, 255], [0, 0, 0]


def encode(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def draw_photograph(height: int = 60, width: int = 80) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def write(folder, name: str, content: bytes):
    (folder / name).write_bytes(content)
    return folder / name


def write_png(width: int, height: int) -> bytes:
    """A PNG whose header announces a size, with next to nothing behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_a_photograph_keeps_its_pixels_and_has_the_asked_size(tmp_path):
    photograph = draw_photograph(60, 80)
    path = write(tmp_path, "photograph.png", encode(photograph, "PNG"))
    picture = read_picture(path)
    assert (picture.shape, picture.dtype) == ((60, 80, 3), np.uint8)
    assert np.array_equal(picture, np.asarray(photograph))
    assert read_picture(str(path), size=(20, 30)).shape == (20, 30, 3)
    picture[:] = 0  # the array is the caller's own


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_every_format_is_read(tmp_path, kind):
    flat = Image.new("RGB", (16, 12), (200, 100, 50))
    picture = read_picture(write(tmp_path, "flat", encode(flat, kind)))
    assert picture.shape == (12, 16, 3)
    assert np.abs(picture.astype(int) - [200, 100, 50]).max() <= 3


# What a camera held otherwise writes: the stored picture has its one red corner where the orientation puts it top left.
@pytest.mark.parametrize(
    ("orientation", "corner", "shape"),
    [
        (1, (0, 0), (20, 30)),
        (2, (0, -1), (20, 30)),
        (3, (-1, -1), (20, 30)),
        (4, (-1, 0), (20, 30)),
        (5, (0, 0), (30, 20)),
        (6, (-1, 0), (30, 20)),
        (7, (-1, -1), (30, 20)),
        (8, (0, -1), (30, 20)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_of_the_camera_is_applied(tmp_path, orientation, corner, shape, kind):
    stored = np.full((20, 30, 3), 255, np.uint8)
    rows, columns = (slice(None, 8) if at == 0 else slice(-8, None) for at in corner)
    stored[rows, columns] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, "turned", encode(Image.fromarray(stored), kind, exif=exif))
    picture = read_picture(path)
    assert picture.shape == (*shape, 3)
    assert np.abs(picture[3, 3].astype(int) - RED).max() < 30
    assert [picture[at].min() > 220 for at in ((3, -3), (-3, 3), (-3, -3))] == [True] * 3


def make_odd_modes() -> dict[str, tuple[Image.Image, str, list[int]]]:
    """Name: a picture of one colour, the format that holds it, and the RGB that must come out."""
    grey16 = Image.fromarray(np.full((8, 8), 0xABCD, np.uint16))
    half_red = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    return {
        "grey": (Image.new("L", (8, 8), 77), "PNG", [77] * 3),
        "black_and_white": (Image.new("1", (8, 8), 1), "PNG", WHITE),
        "palette": (palette, "PNG", [10, 20, 30]),
        "alpha_opaque": (Image.new("RGBA", (8, 8), (1, 2, 3, 255)), "PNG", [1, 2, 3]),
        "alpha_clear": (Image.new("RGBA", (8, 8), (1, 2, 3, 0)), "PNG", WHITE),
        "alpha_half": (half_red, "PNG", [255, 127, 127]),
        "grey_alpha_clear": (Image.new("LA", (8, 8), (9, 0)), "PNG", WHITE),
        "cmyk_cyan": (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF", [0, 255, 255]),
        "cmyk_black": (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG", BLACK),
        "grey_16_bit": (grey16, "PNG", [0xAB] * 3),
        "grey_16_bit_tiff": (grey16, "TIFF", [0xAB] * 3),
        "lab": (
            ImageCms.profileToProfile(Image.new("RGB", (8, 8), "white"), *make_profiles(), outputMode="LAB"),
            "TIFF",
            WHITE,
        ),
    }


def make_profiles():
    return ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")


@pytest.mark.parametrize("name", list(make_odd_modes()))
def test_odd_modes_become_rgb(tmp_path, name):
    image, kind, expected = make_odd_modes()[name]
    picture = read_picture(write(tmp_path, name, encode(image, kind)))
    assert picture.shape == (8, 8, 3)
    assert np.abs(picture.astype(int) - expected).max() <= 2


def test_transparency_that_is_a_colour_or_a_palette_entry_becomes_white(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    for name, image, clear in [("palette", palette, 1), ("rgb", Image.new("RGB", (8, 8)), (0, 0, 0))]:
        path = write(tmp_path, name, encode(image, "PNG", transparency=clear))
        assert read_picture(path).min() == 255, name


def test_sixteen_bits_keep_their_upper_eight_in_colour_and_in_pgm(tmp_path):
    colour = np.full((8, 8, 3), (0x0102, 0x7F80, 0xFFFF), np.uint16)
    path = write(tmp_path, "colour.png", cv2.imencode(".png", colour[..., ::-1])[1].tobytes())
    assert read_picture(path)[4, 4].tolist() == [0x01, 0x7F, 0xFF]
    path = write(tmp_path, "grey.pgm", b"P5 2 1 65535\n" + bytes([0xAB, 0xCD, 0xFF, 0xFF]))
    assert read_picture(path)[0, :, 0].tolist() == [0xAB, 0xFF]


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    path = write(tmp_path, "two.gif", encode(first, "GIF", save_all=True, append_images=[second]))
    assert read_picture(path)[0, 0].tolist() == RED


def make_bad_files() -> dict[str, tuple[bytes, str]]:
    """Name, which says what must happen: the content, and what the message must hold."""
    jpeg, png = encode(draw_photograph(), "JPEG"), encode(draw_photograph(), "PNG")
    progressive = encode(draw_photograph(), "JPEG", progressive=True)
    crossed = bytearray(png)
    crossed[len(png) // 2] ^= 0xFF
    return {
        "refused_as_empty.jpg": (b"", "empty (0 bytes)"),
        "refused_as_text.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "starts with b'version https://'"),
        "refused_as_web_page.jpg": (b"<!DOCTYPE html><html>not found</html>", "starts with b'<!DOCTYPE html><'"),
        "refused_as_postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        "refused_as_one_byte.jpg": (b"\xff", "starts with b'\\xff'"),
        "refused_as_header_only.jpg": (jpeg[:20], "starts with b'\\xff\\xd8\\xff"),
        "refused_as_cut_in_half.jpg": (jpeg[: len(jpeg) // 2], "broken or truncated"),
        "refused_as_cut_near_the_end.jpg": (jpeg[: int(len(jpeg) * 0.9)], "broken or truncated"),
        "refused_as_cut_progressive.jpg": (progressive[: len(progressive) // 2], "broken or truncated"),
        "refused_as_cut_in_half.png": (png[: len(png) // 2], "broken or truncated"),
        "refused_as_damaged.png": (bytes(crossed), "broken or truncated"),
        "refused_as_cut_in_half.bmp": (encode(draw_photograph(), "BMP")[:5000], "broken or truncated"),
        "refused_as_cut_in_half.tiff": (encode(draw_photograph(), "TIFF")[:5000], "starts with b'II*"),
        "refused_as_cut_in_half.webp": (encode(draw_photograph(), "WEBP")[:200], "starts with b'RIFF"),
        "refused_as_cut_in_half.gif": (encode(draw_photograph(), "GIF")[:2000], "starts with b'GIF8"),
        "refused_as_of_unknown_range.tiff": (encode(Image.new("F", (4, 4), 0.5), "TIFF"), "range is unknown"),
        "refused_as_too_large.png": (write_png(9000, 9000), "announces 9000 x 9000 pixels"),
    }


@pytest.mark.parametrize("name", list(make_bad_files()))
def test_bad_files_are_refused_in_one_line_that_names_them(tmp_path, name):
    content, told = make_bad_files()[name]
    path = write(tmp_path, name, content)
    with pytest.raises(PictureError) as caught:
        read_picture(path, (32, 32))
    message = str(caught.value)
    assert str(path) in message
    assert told in message
    assert "\n" not in message


def test_a_bomb_is_refused_by_its_header_and_not_decoded(tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(images, "_convert_to_rgb", fail)
    for side in (8_001, 10_000, 60_000):  # above our limit, where Pillow would warn, and where it would refuse
        path = write(tmp_path, f"refused_as_bomb_{side}.png", write_png(side, side))
        with pytest.raises(PictureError, match="64,000,000"):
            read_picture(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(PictureError, match="there is no such file"):
            read_picture(path)


@pytest.mark.parametrize("size", [(0, 10), (10,), 10, (10.5, 10), ("a", "b"), (-1, 5), "12"])
def test_a_wrong_size_is_refused(tmp_path, size):
    path = write(tmp_path, "picture.png", encode(draw_photograph(), "PNG"))
    with pytest.raises(ParameterError, match="two whole numbers"):
        read_picture(path, size)


def test_shrinking_takes_means_growing_is_linear_and_each_side_gets_its_own():
    board = np.indices((8, 8)).sum(axis=0) % 2 * 200
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert np.unique(resize_picture(board, (2, 2))).tolist() == [100]
    step = np.array([[[0] * 3, [100] * 3]], np.uint8)
    assert resize_picture(step, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    # Sixteen rows shrink to one, which gives the mean; two columns grow to four, which is linear.
    stripes = np.zeros((16, 2, 3), np.uint8)
    stripes[::2, 1] = 200
    assert resize_picture(stripes, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    assert resize_picture(board, (8, 8)) is board


def write_three(folder) -> list[str]:
    for name, grey in [("a.png", 10), ("b.png", 20), ("c.png", 30)]:
        write(folder, name, encode(Image.new("RGB", (9, 7), (grey,) * 3), "PNG"))
    return ["c.png", "a.png", "b.png", "a.png"]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_many_pictures_come_in_the_order_asked(tmp_path, workers):
    pictures = read_pictures(tmp_path, write_three(tmp_path), (4, 5), workers)
    assert (pictures.shape, pictures.dtype) == ((4, 4, 5, 3), np.uint8)
    assert pictures[:, 0, 0, 0].tolist() == [30, 10, 20, 10]
    assert read_pictures(tmp_path, [], (4, 5)).shape == (0, 4, 5, 3)


def test_the_cache_decodes_once_and_notices_a_change(tmp_path, monkeypatch):
    paths, cache, read = write_three(tmp_path), tmp_path / "cache", []
    original = images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda *asked: read.append(1) or original(*asked))
    first = read_pictures(tmp_path, paths, (4, 5), cache=cache)
    again = read_pictures(tmp_path, paths, (4, 5), cache=cache)
    assert len(read) == 4
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert np.array_equal(first, again)
    assert again[:, 0, 0, 0].tolist() == [30, 10, 20, 10]
    assert read_pictures(tmp_path, paths, (5, 5), cache=cache).shape == (4, 5, 5, 3)
    write(tmp_path, "a.png", encode(Image.new("RGB", (9, 7), (99, 99, 99)), "PNG"))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert read_pictures(tmp_path, paths, (4, 5), cache=cache)[:, 0, 0, 0].tolist() == [30, 99, 20, 99]
    assert again[1, 0, 0, 0] == 10  # what was handed out stays as it was
    assert read_pictures(tmp_path, [], (4, 5), cache=cache).shape == (0, 4, 5, 3)


def test_a_broken_picture_leaves_no_half_cache(tmp_path):
    paths, cache = write_three(tmp_path), tmp_path / "cache"
    write(tmp_path, "b.png", b"no picture")
    with pytest.raises(PictureError, match="b.png"):
        read_pictures(tmp_path, paths, (4, 5), cache=cache)
    assert [file.suffix for file in cache.iterdir() if file.suffix != ".lock"] == []
    with pytest.raises(PictureError, match="missing.png"):
        read_pictures(tmp_path, ["missing.png"], (4, 5), cache=cache)


def test_two_that_ask_for_the_same_cache_at_once_get_the_same(tmp_path):
    paths, cache, got = write_three(tmp_path), tmp_path / "cache", []
    threads = [
        threading.Thread(target=lambda: got.append(read_pictures(tmp_path, paths, (4, 5), cache=cache))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each[:, 0, 0, 0].tolist() for each in got] == [[30, 10, 20, 10]] * 4


def test_real_photographs_are_read_as_opencv_reads_them(shared):
    folder = shared / "data" / "facehack" / "happy_images"
    files = sorted(folder.glob("*.jpg"))[:40]
    assert len(files) == 40
    for file in files:
        expected = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        # The two carry their own builds of libjpeg-turbo.
        assert np.abs(read_picture(file).astype(int) - expected).max() <= 2


def test_opencv_alone_would_read_a_truncated_file(tmp_path):
    """The trap that this module's choice of decoder prevents; if this fails, OpenCV was mended."""
    content = make_bad_files()["refused_as_cut_in_half.jpg"][0]
    path = write(tmp_path, "cut.jpg", content)
    assert cv2.imread(str(path)).shape == (60, 80, 3)
