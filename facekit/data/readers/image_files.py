"""JPEG and PNG files block by block: what tells the pixels, and what the orientation. Nothing else decides about an image."""

import contextlib
import random
import re
import struct

from PIL import Image

MAXIMUM_BLOCKS = 500  # of a JPEG; a file with thousands of scans would be decoded for minutes
_TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")  # 2 to 8
_MARKER = re.compile(rb"\xff([^\xff])")
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PADDING = b"\0" + bytes(random.Random(0).choices(range(255), k=63))  # 0: an FF before it becomes data, not a marker


def take_apart(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what of a file tells its pixels, the same padded, and its EXIF block, the latter two where it is a JPEG or PNG.

    libjpeg fills up what is missing in a JPEG, and Pillow is silent about it. So a JPEG is returned a second time, with other
    bytes behind each scan: these change the image exactly where data is missing.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _take_png_apart(content)
    return _take_jpeg_apart(content) if content.startswith(b"\xff\xd8") else (content, b"", b"")


def turn_upright(image: Image.Image, exif: bytes) -> Image.Image:
    """Turn an image as the orientation in its EXIF block says; a broken block says nothing."""
    exif = exif.removeprefix(b"Exif\0\0")
    order, turn = ">" if exif.startswith(b"MM") else "<", 1
    with contextlib.suppress(struct.error):
        (start,) = struct.unpack_from(order + "L", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, at)
            if tag == 0x0112:
                (turn,) = struct.unpack_from(order + ("L" if kind == 4 else "H"), exif, at + 8)
    return image.transpose(Image.Transpose[_TURNS[turn - 2]]) if 2 <= turn <= 8 else image


def _take_png_apart(content: bytes) -> tuple[bytes, bytes, bytes]:
    parts, exif, at, kind = [content[:8]], b"", 8, b""
    while at + 8 <= len(content) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind[:1].isupper() or kind == b"tRNS":
            parts.append(content[at : at + length + 12])
        elif kind == b"eXIf":
            exif = content[at + 8 : at + 8 + length]
        at += length + 12
    return b"".join(parts), b"", exif


def _take_jpeg_apart(content: bytes) -> tuple[bytes, bytes, bytes]:
    blocks, exif, at, padding = [(content[:2],) * 2], b"", 2, _PADDING  # each as it is, and padded
    while (found := _MARKER.search(content, at)) and (marker := found[1]) != b"\xd9":
        start, end = found.end() - 2, found.end()
        if marker not in b"\x00\x01\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8":  # these have no content
            end += int.from_bytes(content[end : end + 2], "big")
        if marker == b"\xe1" and content[start + 4 : start + 10] == b"Exif\0\0":
            exif = exif or content[start + 10 : end]
        if not (b"\xe1" <= marker <= b"\xed" or marker in b"\xef\xfe"):  # E0 and EE tell how colours are stored
            blocks.append((content[start:end],) * 2)
        if marker in b"\xc9\xca\xcb":  # arithmetic coding may leave zeros out
            padding = b""
        if marker == b"\xda":
            finish = _SCAN_END.search(content, end)
            scan = content[end : finish.start() if finish else len(content)]
            numbers = [number[0] & 7 for number in re.findall(rb"\xff([\xd0-\xd7])", scan)]
            if numbers != [n % 8 for n in range(len(numbers))]:
                raise ValueError("restart markers are missing")
            blocks.append((scan, re.sub(rb"(?=\xff[\xd0-\xd7])", padding, scan) + padding))
            end += len(scan)
        if len(blocks) > MAXIMUM_BLOCKS:
            raise ValueError(f"more than {MAXIMUM_BLOCKS} blocks")
        at = end
    clean, padded = (b"".join([*each, b"\xff\xd9" if found else b""]) for each in zip(*blocks, strict=True))
    return clean, padded, exif
