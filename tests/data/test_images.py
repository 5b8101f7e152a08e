"""One path from a file to uint8 RGB: every kind of image, and files named for what must happen to them."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from facekit.data import images
from facekit.data.images import list_images, read_image, read_images, read_own_photos, resize_image
from facekit.errors import DataError, ImageError, ParameterError

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
    image = read_image(path)
    assert (image.shape, image.dtype) == ((60, 80, 3), np.uint8)
    assert np.array_equal(image, np.asarray(photograph))
    assert read_image(str(path), size=(20, 30)).shape == (20, 30, 3)
    image[:] = 0  # the array is the caller's own


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_is_read(tmp_path, kind):
    flat = Image.new("RGB", (16, 12), (200, 100, 50))
    image = read_image(write(tmp_path, "flat", encode(flat, kind)))
    assert image.shape == (12, 16, 3)
    assert np.abs(image.astype(int) - [200, 100, 50]).max() <= 3


# What a camera held otherwise writes: the stored image has its one red corner where the orientation puts it top left.
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
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_the_orientation_of_the_camera_is_applied(tmp_path, orientation, corner, shape, kind):
    stored = np.full((20, 30, 3), 255, np.uint8)
    rows, columns = (slice(None, 8) if at == 0 else slice(-8, None) for at in corner)
    stored[rows, columns] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, "turned", encode(Image.fromarray(stored), kind, exif=exif))
    image = read_image(path)
    assert image.shape == (*shape, 3)
    assert np.abs(image[3, 3].astype(int) - RED).max() < 30
    assert [image[at].min() > 220 for at in ((3, -3), (-3, 3), (-3, -3))] == [True] * 3


def make_odd_modes() -> dict[str, tuple[Image.Image, str, list[int]]]:
    """Name: a image of one colour, the format that holds it, and the RGB that must come out."""
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
    image = read_image(write(tmp_path, name, encode(image, kind)))
    assert image.shape == (8, 8, 3)
    assert np.abs(image.astype(int) - expected).max() <= 2


def test_transparency_that_is_a_colour_or_a_palette_entry_becomes_white(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    for name, image, clear in [("palette", palette, 1), ("rgb", Image.new("RGB", (8, 8)), (0, 0, 0))]:
        path = write(tmp_path, name, encode(image, "PNG", transparency=clear))
        assert read_image(path).min() == 255, name


def test_sixteen_bits_keep_their_upper_eight_in_colour_and_in_pgm(tmp_path):
    colour = np.full((8, 8, 3), (0x0102, 0x7F80, 0xFFFF), np.uint16)
    path = write(tmp_path, "colour.png", cv2.imencode(".png", colour[..., ::-1])[1].tobytes())
    assert read_image(path)[4, 4].tolist() == [0x01, 0x7F, 0xFF]
    path = write(tmp_path, "grey.pgm", b"P5 2 1 65535\n" + bytes([0xAB, 0xCD, 0xFF, 0xFF]))
    assert read_image(path)[0, :, 0].tolist() == [0xAB, 0xFF]


def test_of_an_animation_the_first_image_is_taken(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    path = write(tmp_path, "two.gif", encode(first, "GIF", save_all=True, append_images=[second]))
    assert read_image(path)[0, 0].tolist() == RED


def make_cut_tiff() -> bytes:
    """A TIFF, compressed with LZW, whose directory is whole and whose data would end behind the file's end."""
    content = bytearray(encode(draw_photograph(), "TIFF", compression="tiff_lzw"))
    (start,) = struct.unpack_from("<L", content, 4)
    for at in range(start + 2, len(content) - 12, 12):
        if struct.unpack_from("<H", content, at) == (279,):
            struct.pack_into("<HLL", content, at + 2, 4, 1, 100_000)
    return bytes(content)


def overwrite(content: bytes) -> bytes:
    """The same with noise in the middle."""
    noise = np.random.default_rng(2).integers(0, 256, 200, np.uint8).tobytes()
    return content[: len(content) // 2] + noise + content[len(content) // 2 + 200 :]


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
        "refused_as_postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
        "refused_as_one_byte.jpg": (b"\xff", "starts with b'\\xff'"),
        "refused_as_header_only.jpg": (jpeg[:20], "starts with b'\\xff\\xd8\\xff"),
        "refused_as_cut_in_half.jpg": (jpeg[: len(jpeg) // 2], "broken or truncated"),
        "refused_as_cut_near_the_end.jpg": (jpeg[: int(len(jpeg) * 0.9)], "broken or truncated"),
        "refused_as_cut_progressive.jpg": (progressive[: len(progressive) // 2], "broken or truncated"),
        "refused_as_cut_in_half.png": (png[: len(png) // 2], "broken or truncated"),
        "refused_as_damaged.png": (bytes(crossed), "broken or truncated"),
        "refused_as_cut_in_half.bmp": (encode(draw_photograph(), "BMP")[:5000], "broken or truncated"),
        "refused_as_cut_in_half.tiff": (encode(draw_photograph(), "TIFF")[:5000], "starts with b'II*"),
        "refused_as_cut_lzw.tiff": (encode(draw_photograph(), "TIFF", compression="tiff_lzw")[:9000], "broken or truncated"),
        "refused_as_cut_data.tiff": (make_cut_tiff(), "broken or truncated"),
        "refused_as_overwritten.tiff": (overwrite(encode(draw_photograph(), "TIFF", compression="tiff_lzw")), "broken"),
        "refused_as_overwritten_deflate.tiff": (
            overwrite(encode(draw_photograph(), "TIFF", compression="tiff_adobe_deflate")),
            "broken or truncated",
        ),
        "refused_as_cut_in_half.dib": (encode(draw_photograph(), "DIB")[:5000], "broken or truncated"),
        "refused_as_cut.jp2": (encode(draw_photograph(), "JPEG2000")[:-200], "broken or truncated"),
        "refused_as_cut_in_half.avif": (encode(draw_photograph(), "AVIF")[:450], "its header is damaged"),
        "refused_as_cut_near_the_end.avif": (encode(draw_photograph(), "AVIF")[:-50], "broken or truncated"),
        "refused_as_heic.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "no image that can be read"),
        "refused_as_drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "starts with b'<svg xmlns"),
        "refused_as_cut_in_half.webp": (encode(draw_photograph(), "WEBP")[:200], "starts with b'RIFF"),
        "refused_as_cut_in_half.gif": (encode(draw_photograph(), "GIF")[:2000], "starts with b'GIF8"),
        "refused_as_of_unknown_range.tiff": (encode(Image.new("F", (4, 4), 0.5), "TIFF"), "range is unknown"),
        "refused_as_too_large.png": (write_png(9000, 9000), "announces 9000 x 9000 pixels"),
    }


@pytest.mark.parametrize("name", list(make_bad_files()))
def test_bad_files_are_refused_in_one_line_that_names_them(tmp_path, name):
    content, told = make_bad_files()[name]
    path = write(tmp_path, name, content)
    with pytest.raises(ImageError) as caught:
        read_image(path, (32, 32))
    message = str(caught.value)
    assert str(path) in message
    assert told in message
    assert "\n" not in message


def test_nothing_is_printed_beside_the_error(tmp_path):
    """In a process of its own: pytest makes an error of each warning."""
    for name, (content, _) in make_bad_files().items():
        if name.endswith((".tiff", ".avif")):
            write(tmp_path, name, content)
    write(tmp_path, "refused_as_bomb.png", write_png(10_000, 10_000))
    program = """
import pathlib, sys
from facekit.data.images import read_image
from facekit.errors import ImageError
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        read_image(path)
    except ImageError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(list(tmp_path.iterdir())) > 8
    assert "announces 10000 x 10000 pixels" in done.stdout


def test_a_bomb_is_refused_by_its_header_and_not_decoded(tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(images, "_convert", fail)
    for side in (8_001, 10_000, 60_000):  # above our limit, where Pillow would warn, and where it would refuse
        path = write(tmp_path, f"refused_as_bomb_{side}.png", write_png(side, side))
        with pytest.raises(ImageError, match="64,000,000"):
            read_image(path)


@pytest.mark.parametrize("size", [(0, 10), (10,), 10, (10.5, 10), ("a", "b"), (-1, 5), "12"])
def test_a_wrong_size_is_refused(tmp_path, size):
    path = write(tmp_path, "image.png", encode(draw_photograph(), "PNG"))
    with pytest.raises(ParameterError, match="two whole numbers"):
        read_image(path, size)


def test_shrinking_takes_means_growing_is_linear_and_each_side_gets_its_own():
    board = np.indices((8, 8)).sum(axis=0) % 2 * 200
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert np.unique(resize_image(board, (2, 2))).tolist() == [100]
    step = np.array([[[0] * 3, [100] * 3]], np.uint8)
    assert resize_image(step, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    # Sixteen rows shrink to one, which gives the mean; two columns grow to four, which is linear.
    stripes = np.zeros((16, 2, 3), np.uint8)
    stripes[::2, 1] = 200
    assert resize_image(stripes, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    assert resize_image(board, (8, 8)) is board


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_three(folder) -> list[str]:
    for name, grey in [("a.png", 10), ("b.png", 20), ("c.png", 30)]:
        write(folder, name, encode(Image.new("RGB", (9, 7), (grey,) * 3), "PNG"))
    return ["c.png", "a.png", "b.png", "a.png"]


def test_many_images_come_in_the_order_asked(tmp_path, cache):
    images = read_images(tmp_path, write_three(tmp_path), (4, 5))
    assert (images.shape, images.dtype) == ((4, 4, 5, 3), np.uint8)
    assert images[:, 0, 0, 0].tolist() == [30, 10, 20, 10]


def test_the_cache_decodes_once_and_notices_a_change(tmp_path, cache, monkeypatch):
    paths, read = write_three(tmp_path), []
    original = images.read_image
    monkeypatch.setattr(images, "read_image", lambda *asked: read.append(1) or original(*asked))
    first = read_images(tmp_path, paths, (4, 5))
    again = read_images(tmp_path, paths, (4, 5))
    assert len(read) == 4
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert np.array_equal(first, again)
    assert again[:, 0, 0, 0].tolist() == [30, 10, 20, 10]
    assert read_images(tmp_path, paths, (5, 5)).shape == (4, 5, 5, 3)
    write(tmp_path, "a.png", encode(Image.new("RGB", (9, 7), (99, 99, 99)), "PNG"))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert read_images(tmp_path, paths, (4, 5))[:, 0, 0, 0].tolist() == [30, 99, 20, 99]
    assert again[1, 0, 0, 0] == 10  # what was handed out stays as it was
    assert read_images(tmp_path, [], (4, 5)).shape == (0, 4, 5, 3)


def test_a_broken_image_leaves_no_half_cache(tmp_path, cache):
    paths = write_three(tmp_path)
    write(tmp_path, "b.png", b"no image")
    with pytest.raises(ImageError, match="b.png"):
        read_images(tmp_path, paths, (4, 5))
    assert [file.suffix for file in (cache / "images").iterdir() if file.suffix != ".lock"] == []
    with pytest.raises(ImageError, match="missing.png"):
        read_images(tmp_path, ["missing.png"], (4, 5))


@pytest.mark.parametrize("damage", ["empty", "cut header", "cut", "another header", "another shape", "zip"])
def test_a_damaged_cache_is_made_again_with_one_line(tmp_path, cache, capsys, damage):
    paths = write_three(tmp_path)
    expected = read_images(tmp_path, paths, (4, 5)).tolist()
    (file,) = (cache / "images").glob("*.npy")
    whole = file.read_bytes()
    damaged = {"empty": b"", "cut header": whole[:50], "cut": whole[:-1], "zip": b"PK\x03\x04" + whole[4:]}
    damaged |= {"another header": whole.replace(b"fortran", b"fortxxx"), "another shape": whole.replace(b"(4, ", b"(3, ")}
    file.write_bytes(damaged[damage])
    assert read_images(tmp_path, paths, (4, 5)).tolist() == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: damaged (") and line.endswith("), made again")
    assert file.read_bytes() == whole
    read_images(tmp_path, paths, (4, 5))
    assert capsys.readouterr().err == ""


def test_two_that_ask_for_the_same_cache_at_once_get_the_same(tmp_path, cache):
    paths, got = write_three(tmp_path), []
    threads = [threading.Thread(target=lambda: got.append(read_images(tmp_path, paths, (4, 5)))) for _ in range(4)]
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
        assert np.abs(read_image(file).astype(int) - expected).max() <= 2


def test_opencv_alone_would_read_a_truncated_file(tmp_path):
    """The trap that this module's choice of decoder prevents; if this fails, OpenCV was mended."""
    content = make_bad_files()["refused_as_cut_in_half.jpg"][0]
    path = write(tmp_path, "cut.jpg", content)
    assert cv2.imread(str(path)).shape == (60, 80, 3)


def insert_chunk(png: bytes, kind: bytes, body: bytes, check: bytes = b"") -> bytes:
    """A PNG with one more block behind its header."""
    return (
        png[:33] + struct.pack(">I", len(body)) + kind + body + (check or struct.pack(">I", zlib.crc32(kind + body))) + png[33:]
    )


def insert_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more block behind its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def make_exif(*entries: bytes, order: str = ">") -> bytes:
    start = {">": b"MM\0*", "<": b"II*\0"}[order]
    return b"Exif\0\0" + start + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + bytes(4)


TURNED = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
WRONG_RESOLUTION = struct.pack(">HHI4s", 0x011A, 2, 4, b"abc")  # a text where a number belongs


def make_files_with_metadata() -> dict[str, tuple[bytes, bool]]:
    """Name: a file with whole pixels, and whether its orientation says that it is turned."""
    image = draw_photograph()
    jpeg, png = encode(image, "JPEG"), encode(image, "PNG")
    exif = make_exif(TURNED, WRONG_RESOLUTION)
    entry = struct.pack("<HHII", 0x0112, 4, 1, 6)  # little end first, and a long number
    return {
        "text for the resolution.jpg": (insert_segment(jpeg, 0xE1, exif), True),
        "little end first.jpg": (insert_segment(jpeg, 0xE1, make_exif(entry, order="<")), True),
        "unknown orientation.jpg": (insert_segment(jpeg, 0xE1, make_exif(struct.pack(">HHIHH", 0x0112, 3, 1, 99, 0))), False),
        "cut exif.jpg": (insert_segment(jpeg, 0xE1, exif[:17]), False),
        "exif of noise.jpg": (insert_segment(jpeg, 0xE1, b"Exif\0\0" + bytes(range(200))), False),
        "broken profile.jpg": (insert_segment(jpeg, 0xE2, b"ICC_PROFILE\0"), False),
        "broken index of images.jpg": (insert_segment(jpeg, 0xE2, b"MPF\0MM\0*"), False),
        "broken resources.jpg": (insert_segment(jpeg, 0xED, b"Photoshop 3.0\x008BIM\x04"), False),
        "fill bytes.jpg": (jpeg[:2] + b"\xff" * 9 + jpeg[2:], False),
        "bytes behind.jpg": (jpeg + b"\xff\xd8\xff" + bytes(99), False),
        "text for the resolution.png": (insert_chunk(png, b"eXIf", exif[6:]), True),
        "2 MB of text.png": (insert_chunk(png, b"zTXt", b"comment\0\0" + zlib.compress(b"x" * 2_000_000)), False),
        "broken text.png": (insert_chunk(png, b"zTXt", b"comment\0\0no zlib"), False),
        "wrong checksum of a text.png": (insert_chunk(png, b"tEXt", b"a\0b", b"1234"), False),
        "cut resolution.png": (insert_chunk(png, b"pHYs", b"1"), False),
        "broken profile.png": (insert_chunk(png, b"iCCP", b"name\0\0no zlib"), False),
        "text for the resolution.webp": (encode(image, "WEBP", lossless=True, exif=exif), True),
        "text for the resolution.tiff": (encode(image, "TIFF", tiffinfo={0x0112: 6, 0x010E: "x" * 99}), True),
    }


@pytest.mark.parametrize("name", list(make_files_with_metadata()))
def test_metadata_does_not_decide_about_pixels(tmp_path, name):
    content, turned = make_files_with_metadata()[name]
    expected = np.asarray(draw_photograph())
    image = read_image(write(tmp_path, name, content))
    assert np.abs(image.astype(int) - (np.rot90(expected, -1) if turned else expected)).max() <= (30 if "jpg" in name else 0)


JPEG_KINDS = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "grey": {"grey": True},
}


def make_jpeg(grey: bool = False, **options) -> bytes:
    noise = np.random.default_rng(1).normal(0, 12, (90, 120, 3))
    image = Image.fromarray((np.asarray(draw_photograph(90, 120)) + noise).clip(0, 255).astype(np.uint8))
    return encode(image.convert("L") if grey else image, "JPEG", quality=85, **options)


@pytest.mark.parametrize("kind", list(JPEG_KINDS))
def test_a_jpeg_that_looks_whole_and_is_not_is_refused(tmp_path, kind):
    whole = make_jpeg(**JPEG_KINDS[kind])
    expected = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    assert np.array_equal(read_image(write(tmp_path, "whole.jpg", whole)), expected)
    assert np.array_equal(read_image(write(tmp_path, "more.jpg", whole[:-2] + bytes(40) + whole[-2:])), expected)
    for part in (0.4, 0.6, 0.8, 0.95):
        path = write(tmp_path, "cut.jpg", whole[: int(len(whole) * part)] + b"\xff\xd9")
        with pytest.raises(ImageError, match="cut.jpg is broken or truncated"):
            read_image(path)


def test_most_holes_of_zeros_in_a_jpeg_are_refused(tmp_path):
    """A few decode to as many bits as were there; then no decoder can tell."""
    whole, refused = make_jpeg(), []
    for start in range(len(whole) // 3, len(whole) - 1000, 100):
        path = write(tmp_path, "hole.jpg", whole[:start] + bytes(800) + whole[start + 800 :])
        try:
            refused.append(read_image(path) is None)
        except ImageError:
            refused.append(True)
    assert np.mean(refused) > 0.8


def test_what_is_not_a_regular_file_is_refused_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "folder.jpg").mkdir()
    names = ["broken.jpg", "folder.jpg", "itself.jpg", "pipe.jpg", "zero.jpg"]
    assert list_images(tmp_path) == names
    for name in (*names, "missing.jpg", "x" * 300):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match="embedded null byte"):
        read_image("a\0.jpg")


def test_a_folder_lists_what_ends_like_an_image_and_no_junk(tmp_path):
    junk = ["Thumbs.db", "._a.jpg", "~$a.jpg", "a.jpg:Zone.Identifier", "notes.txt"]
    images = ["a.JPG", "b.jfif", "c.jpe", "d.heic", "e.avif", "f.png", "g.pgm", "h.apng", "i.avifs", "j.heics", "k.dib"]
    images += ["l.pnm", "m.CR2", "n.nef", "o.dng", "p.svg", "q.psd"]
    for name in junk:
        write(tmp_path, name, b"junk")
    with pytest.raises(ImageError, match="no image"):
        list_images(tmp_path)
    for name in images:
        write(tmp_path, name, b"0000ftypheic")
    assert list_images(tmp_path) == images
    with pytest.raises(ImageError, match="d.heic is no image that can be read.*save it as JPEG"):
        read_image(tmp_path / "d.heic")


def test_names_that_are_not_utf_8_are_read_and_shown_escaped(tmp_path, cache):
    name = os.fsdecode(b"caf\xe9.png")
    write(tmp_path, name, encode(draw_photograph(), "PNG"))
    assert list_images(tmp_path) == [name]
    assert read_images(tmp_path, [name], (4, 5)).shape == (1, 4, 5, 3)
    write(tmp_path, name, b"no image")
    with pytest.raises(ImageError, match=r"caf\\udce9.png"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_large_images_are_decoded_one_at_a_time_and_no_larger_than_needed(tmp_path, cache, monkeypatch, mode):
    monkeypatch.setattr(images, "LARGE", 1000)
    at_once, most, original = [], [], images._convert

    def watch(*given):
        at_once.append(1)
        most.append(len(at_once))
        converted = original(*given)
        at_once.pop()
        return converted

    monkeypatch.setattr(images, "_convert", watch)
    photograph = draw_photograph(160, 320).convert(mode)
    names = ["a.png", "b.webp"] if mode == "RGBA" else ["a.png"] if mode == "P" else ["a.jpg", "b.png"]
    for name in names:
        photograph.save(tmp_path / name)
    small = read_images(tmp_path, names * 4, (16, 32))
    assert max(most) == 1
    expected = resize_image(np.asarray(photograph.convert("RGB")), (16, 32)).astype(int)
    assert np.abs(small - expected).max() <= 6


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, cache, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(DataError, match="images: No space left on device, needs 1 MB; .*FACEKIT_CACHE"):
        read_images(tmp_path, write_three(tmp_path), (4, 5))
    assert [file.suffix for file in (cache / "images").iterdir()] == [".lock"]


def test_your_own_photos_that_cannot_be_read_are_named_and_left_out(tmp_path, capsys):
    write_three(tmp_path)
    write(tmp_path, "d.jpg", b"no image")
    assert read_own_photos(str(tmp_path), (4, 5)).shape == (3, 4, 5, 3)
    assert "left out" in capsys.readouterr().out
