"""Downloads: a dataset or weights, checked and unpacked, or the exact steps where a page must be signed.

A file or folder gets its name only after all of it was there and right; what a killed download left is removed by the next one.
"""

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

import pooch
import requests
from filelock import FileLock

from facekit.data.manifests import DatasetManifest, FixedFile, read_manifest
from facekit.data.tables import read_dataset
from facekit.errors import DataError, ParameterError
from facekit.paths import build_key, cache_folder, resolve
from facekit.progress import track


def fetch(name: str, target: Path, *, only: Iterable[str] = ()) -> list[Path]:
    """Download what a manifest names into `target`, and return that folder in a list, or the paths of single files.

    For a dataset the folder must be new or empty. Of weights `only` names the files wanted, all by default; those that are
    there and right are not downloaded. DataError: no connection, a wrong hash, an unsafe archive, another dataset than
    published, or a page to sign up on.
    """
    manifest, target = read_manifest(name), resolve(target)
    if manifest.source.kind == "page":
        received = f"{name} is given out on {manifest.source.url} only"
        raise DataError(received, hint=f"`facekit data fetch {name}` prints the steps")
    known = {file.path: file for file in manifest.files if file.url}
    if unknown := set(only) - set(known):
        raise ParameterError(f"{name} has no file {', '.join(sorted(unknown))}", expected="one of " + ", ".join(known))
    scratch = target.parent / f".{target.name}.part"
    with FileLock(cache_folder("downloads") / f"{build_key(target=str(target))}.lock"):
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed download left
        scratch.mkdir(parents=True)
        try:
            if manifest.source.kind == "archive":
                return [_fetch_dataset(manifest, target, scratch)]
            return [_fetch_file(known[path], target, scratch) for path in (tuple(only) or known)]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def check_file(path: Path, file: FixedFile) -> None:
    """Raise DataError unless the file is there and holds the bytes that the manifest knows."""
    if not path.is_file():
        raise DataError(f"{path} is missing")
    if file.bytes not in (None, size := path.stat().st_size):
        raise DataError(f"{path}: {size:,} bytes", expected=f"{file.bytes:,} as published")
    algorithm, _, expected = (file.known_hash or "").partition(":")
    if expected and (received := pooch.file_hash(str(path), alg=algorithm)) != expected:
        raise DataError(f"{path}: {algorithm} {received}", expected=expected)


def check_members(archive: Path, *, max_files: int, max_bytes: int) -> None:
    """Refuse a zip or tar archive before it is unpacked: paths that lead outside, links, devices, absurd numbers and sizes."""
    count = total = 0
    for name, size, regular in _list_members(archive):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
            raise DataError(f"{archive.name}: {name!r} leads outside", expected="paths inside the archive")
        if not regular:
            raise DataError(f"{archive.name}: {name!r} is a link or device", expected="plain files")
        count, total = count + 1, total + size
        if count > max_files or total > max_bytes:
            raise DataError(f"{archive.name}: more than {max_files:,} files or {max_bytes:,} bytes")


def _fetch_dataset(manifest: DatasetManifest, target: Path, scratch: Path) -> Path:
    source = manifest.source
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is not empty", expected="a new folder", hint="remove it, or name another with --root")
    archive = _retrieve(source.url, f"sha256:{source.sha256}" if source.sha256 else None, scratch, source.max_bytes)
    try:
        check_members(archive, max_files=source.max_files, max_bytes=source.max_bytes)
        processor = pooch.Unzip if zipfile.is_zipfile(archive) else pooch.Untar
        processor(extract_dir="unpacked")(str(archive), "download", None)
    except DataError:
        raise
    except Exception as error:  # on broken archives zipfile and tarfile raise a dozen kinds
        raise DataError(f"{source.url}: not a readable zip or tar.gz archive ({error})", hint="try again later") from error
    inner = scratch / "unpacked"
    if len(tops := list(inner.iterdir())) == 1 and tops[0].is_dir():
        inner = tops[0]
    inner /= source.folder
    for file in manifest.files:
        check_file(inner / file.path, file)
    dataset = read_dataset(manifest.name, inner)
    if len(dataset.table) + len(dataset.excluded) < manifest.images.count:
        raise DataError(f"{source.url}: {len(dataset.table):,} images", expected=f"{manifest.images.count:,} as published")
    if target.exists():
        target.rmdir()
    return inner.rename(target)


def _fetch_file(file: FixedFile, target: Path, scratch: Path) -> Path:
    path = target / file.path
    try:
        check_file(path, file)
    except DataError:
        received = _retrieve(file.url, file.known_hash, scratch, file.bytes or 1_000_000_000)
        check_file(received, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        received.replace(path)
    return path


def _retrieve(url: str, known_hash: str | None, folder: Path, limit: int) -> Path:
    def download(url: str, path: str, _pooch) -> None:
        # Encodings are refused, so that the bytes received are the bytes written.
        options = {"headers": {"Accept-Encoding": "identity"}, "hooks": {"response": _refuse_downgrade}}
        with requests.get(url, stream=True, timeout=30, **options) as response, open(path, "wb") as file:
            response.raise_for_status()
            length = response.headers.get("content-length", "")
            with track(None, f"downloading {url.rpartition('/')[2]}", int(length) if length.isdigit() else None, "B") as bar:
                for chunk in response.iter_content(1 << 16):
                    bar.update(file.write(chunk))
                    if file.tell() > limit:
                        raise DataError(f"{url}: more than {limit:,} bytes")

    pooch.get_logger().setLevel("ERROR")  # the bar and the errors say it already
    try:
        return Path(pooch.retrieve(url, known_hash, fname="download", path=folder, downloader=download))
    except (requests.RequestException, ValueError) as error:  # pooch's ValueError: the hash is another
        received = f"{url}: the download failed ({type(error).__name__}: {str(error)[:160]})"
        raise DataError(received, hint="nothing was kept; check the connection and try again") from error


def _refuse_downgrade(response: requests.Response, **_) -> None:
    """Refuse a redirect that leaves https, or leads from this machine elsewhere without it."""
    goal = urljoin(response.url, response.headers.get("location", ""))
    local = all(re.match(r"http://127\.0\.0\.1[:/]", address) for address in (response.url, goal))
    if response.is_redirect and not (local or goal.startswith("https://")):
        raise DataError(f"{response.url} leads to {goal}", expected="an address with https")


def _list_members(archive: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield name, unpacked size, and whether it is a plain file or folder; the archive's kind is told by its content."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():  # orig_filename: zipfile cuts a name at a NUL, which would hide what is behind it
                kind = stat.S_IFMT(entry.external_attr >> 16)
                yield entry.orig_filename, entry.file_size, kind in (0, stat.S_IFREG, stat.S_IFDIR)
    else:
        with _Headers(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            for entry in opened:
                yield entry.name, entry.size, entry.isfile() or entry.isdir()


class _Headers(gzip.GzipFile):
    """The stream of a tar.gz: an extended header is read whole, and a small archive may hold an endless one."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 1 << 20:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)
