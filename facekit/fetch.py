"""Downloads: a dataset or weights, checked and unpacked, or the exact steps where a page must be signed.

The trap this prevents: a half-written file that later reads like data, and an archive that writes where it should
not. A file gets its name only after its hash was right; a folder gets its name only after all of it was unpacked and
checked.
"""

import hashlib
import logging
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import pooch
import requests
from filelock import FileLock

from facekit.errors import DataError, ParameterError
from facekit.folders import cache_folder
from facekit.manifests import FixedFile, GitSource, Manifest, PageSource, UrlSource, load_manifest


class Member(NamedTuple):
    """One file of an archive, zip or tar."""

    name: str
    size: int
    entry: zipfile.ZipInfo | tarfile.TarInfo


def describe_steps(manifest: Manifest, target: Path) -> str:
    """Return what the user does by hand to get a dataset that stands behind a page.

    >>> describe_steps(load_manifest("celeba"), Path("data/celeba")).splitlines()[0]
    'CelebA, Large-scale CelebFaces Attributes (aligned and cropped) cannot be fetched by a program. By hand:'
    """
    steps = manifest.source.steps if isinstance(manifest.source, PageSource) else ()
    lines = [f"  {number}. {step.format(target=target)}" for number, step in enumerate(steps, start=1)]
    head = f"{manifest.title} cannot be fetched by a program. By hand:"
    return "\n".join([head, *lines, f"Terms: {manifest.terms}"])


def fetch_dataset(name: str, target: Path, *, only: Iterable[str] = (), progress: bool = True) -> list[Path]:
    """Download what a manifest names into `target`.

    An interrupted fetch leaves nothing that looks like data, and starts again cleanly; files that are whole stay.

    Args:
        name: the manifest's name.
        target: the folder to fill; for an archive it must be new or empty.
        only: for weights, the file names wanted; default all.
        progress: whether to show a progress bar.

    Returns:
        The folder in a list, or the paths of the single files.

    Raises:
        DataError: no connection, a wrong hash, an unsafe archive, a full target, or a page to sign up on.
    """
    manifest = load_manifest(name)
    source = manifest.source
    if isinstance(source, PageSource):
        raise DataError(f"{name} is given out on {source.url} only", mend=f"`facekit data fetch {name}` prints the steps")
    if isinstance(source, GitSource | UrlSource):
        return [fetch_archive(source, manifest.files, target, progress=progress)]
    known = {file.path: file for file in manifest.files if file.url}
    unknown = set(only) - set(known)
    if unknown:
        raise ParameterError(f"{name} has no file {', '.join(sorted(unknown))}", expected="one of " + ", ".join(known))
    return [fetch_file(known[path], target, progress=progress) for path in (tuple(only) or known)]


def fetch_file(file: FixedFile, target: Path, *, progress: bool = True) -> Path:
    """Download one file into the folder `target`, or keep the one that is there and whole."""
    path = _download(file.url, file.known_hash, target, file.path, progress)
    if file.bytes is not None and path.stat().st_size != file.bytes:
        size = path.stat().st_size
        path.unlink()
        raise DataError(f"{file.url}: {size:,} bytes", expected=f"{file.bytes:,}", mend="run the command again")
    return path


def fetch_archive(source: GitSource | UrlSource, files: Iterable[FixedFile], target: Path, *, progress: bool = True) -> Path:
    """Download an archive, unpack it safely, check the files whose bytes are known, and only then name the folder.

    Args:
        source: the archive's address, limits and the folder in it that counts.
        files: files with known bytes; each must come out of the archive.
        target: the folder to make; must be new or empty.
        progress: whether to show a progress bar.

    Returns:
        `target`.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is not empty", expected="a new folder", mend="remove it, or name another with --root")
    known = None if isinstance(source, GitSource) else _name_hash(source)
    # The address is part of the name, so that a changed commit never meets the archive of an earlier one.
    name = f"{hashlib.sha256(source.url.encode()).hexdigest()[:16]}-{source.url.rsplit('/', 1)[-1]}"
    with FileLock(cache_folder("downloads") / f"{name}.lock"):
        archive = _download(source.url, known, cache_folder("downloads"), name, progress)
        scratch = target.parent / f".{target.name}.part"
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed fetch left
        try:
            limits = {"max_files": source.max_files, "max_bytes": source.max_bytes}
            inner = _enter_folder(unpack_archive(archive, scratch, **limits), source)
            for file in files:
                check_file(inner / file.path, file)
            if target.exists():
                target.rmdir()
            inner.rename(target)
        finally:
            # An archive that is of no use now would be of no use again, and a good one has done its work.
            archive.unlink()
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def check_file(path: Path, file: FixedFile) -> None:
    """Raise DataError unless the file is there and holds the bytes that the manifest knows."""
    if not path.is_file():
        raise DataError(f"{path.name} is missing in {path.parent}")
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        raise DataError(f"{path}: {size:,} bytes", expected=f"{file.bytes:,} as published")
    if file.known_hash:
        algorithm, _, expected = file.known_hash.partition(":")
        found = pooch.file_hash(str(path), alg=algorithm)
        if found != expected:
            raise DataError(f"{path}: {algorithm} {found}", expected=expected)


def unpack_archive(archive: Path, target: Path, *, max_files: int, max_bytes: int) -> Path:
    """Unpack a zip or tar archive into the new folder `target`, or refuse it before anything is written.

    Refused are names that lead outside, links, devices, encrypted files, a name given twice, and more files or bytes
    than the limits allow: an archive of a few kilobytes can unpack to terabytes.

    Args:
        archive: a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file; told by content, not by name.
        target: the folder to make.
        max_files: largest number of files.
        max_bytes: largest size of all files together, unpacked.

    Returns:
        `target`.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                members = _check_members(archive, _list_zip(opened), max_files, max_bytes)
                _write_members(archive, members, opened.open, target)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                members = _check_members(archive, _list_tar(opened), max_files, max_bytes)
                _write_members(archive, members, opened.extractfile, target)
        else:
            with open(archive, "rb") as file:
                start = file.read(16)
            raise DataError(f"{archive.name} starts with {start!r}", expected="a zip or tar archive")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{archive.name}: broken archive ({error})", mend="fetch it again") from error
    return target


def _download(url: str, known_hash: str | None, folder: Path, name: str, progress: bool) -> Path:
    # pooch reports on its logger what the progress bar and the error lines say already.
    pooch.get_logger().setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
    try:
        return Path(pooch.retrieve(url, known_hash, fname=name, path=folder, downloader=downloader))
    except requests.HTTPError as error:
        answer = f"{error.response.status_code} {error.response.reason}"
        raise DataError(f"{url}: the server answers {answer}", mend="nothing was kept; try again later") from error
    except requests.RequestException as error:  # its text is a page of nested reprs
        broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
        came = "the download broke off" if broken else f"no connection ({type(error).__name__})"
        raise DataError(f"{url}: {came}", mend="nothing was kept; check the connection and try again") from error
    except ValueError as error:  # pooch's way of saying that the hash is another
        raise DataError(f"{url}: the file's hash is another", expected=str(known_hash), mend=_shorten(error)) from error


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."


def _name_hash(source: UrlSource) -> str | None:
    return f"sha256:{source.sha256}" if source.sha256 else f"md5:{source.md5}" if source.md5 else None


def _enter_folder(unpacked: Path, source: GitSource | UrlSource) -> Path:
    if isinstance(source, GitSource):
        # A forge puts everything into one folder named after the repository and the commit.
        tops = [entry for entry in unpacked.iterdir() if entry.is_dir()]
        if len(tops) != 1:
            raise DataError(f"{source.url}: {len(tops)} folders at the top", expected="one, of the repository")
        unpacked = tops[0]
    inner = unpacked / source.folder
    if not inner.is_dir():
        raise DataError(f"{source.url}: no folder {source.folder!r} in it")
    return inner


def _list_zip(opened: zipfile.ZipFile) -> Iterator[Member]:
    for entry in opened.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{entry.filename!r} is a link or device", expected="plain files")
        if entry.flag_bits & 1:
            raise DataError(f"{entry.filename!r} is encrypted", expected="plain files")
        if not entry.is_dir():
            # orig_filename: zipfile itself cuts a name at a NUL, which would hide what stands behind it.
            yield Member(entry.orig_filename, entry.file_size, entry)


def _list_tar(opened: tarfile.TarFile) -> Iterator[Member]:
    for entry in opened:
        if not (entry.isfile() or entry.isdir()):
            raise DataError(f"{entry.name!r} is a link or device", expected="plain files")
        if entry.isfile():
            yield Member(entry.name, entry.size, entry)


def _check_members(archive: Path, members: Iterator[Member], max_files: int, max_bytes: int) -> list[Member]:
    """Look at every name and size while they are listed, so that an endless archive is left early."""
    checked: list[Member] = []
    seen: set[str] = set()
    total = 0
    for member in members:
        name, path = member.name, PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
            raise DataError(f"{archive.name}: {name!r} leads outside", expected="paths inside the archive")
        # Two names that differ in capitals alone are one file on some systems.
        if str(path).casefold() in seen:
            raise DataError(f"{archive.name}: {name!r} stands twice in it", expected="each file once")
        seen.add(str(path).casefold())
        total += member.size
        checked.append(member)
        if len(checked) > max_files:
            raise DataError(f"{archive.name}: more than {max_files:,} files")
        if total > max_bytes:
            raise DataError(f"{archive.name}: unpacks to more than {max_bytes:,} bytes")
    return checked


def _write_members(archive: Path, members: list[Member], open_member, target: Path) -> None:
    target.mkdir(parents=True)
    for member in members:
        path = target / PurePosixPath(member.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_member(member.entry) as source, open(path, "xb") as goal:
            _copy(source, goal, member.size, f"{archive.name}: {member.name!r}")


def _copy(source: IO[bytes], goal: IO[bytes], size: int, name: str) -> None:
    shutil.copyfileobj(source, goal, 1 << 20)
    if goal.tell() != size:
        raise DataError(f"{name} unpacks to {goal.tell():,} bytes", expected=f"{size:,} as its header says")
