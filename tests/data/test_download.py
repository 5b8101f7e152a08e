"""Downloads, against a server on this machine: good files, and every way in which a download or an archive is bad."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from raw_files import write_facehack

from facekit.cli import main
from facekit.data import download, manifests
from facekit.data.download import check_members, fetch
from facekit.errors import DataError, ParameterError
from facekit.paths import project_root

WEIGHTS = b"weights" * 1000


class Server:
    """Files by path; those in `cut` break off in the middle; `moved` ones lead elsewhere; `asked` lists the requests."""

    def __init__(self):
        self.files, self.cut, self.moved, self.asked = {}, set(), {}, []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 - the name that http.server asks for
                owner.asked.append(self.path)
                content = owner.files.get(self.path)
                moved = owner.moved.get(self.path)
                self.send_response(302 if moved else 404 if content is None else 200)
                if moved:
                    self.send_header("Location", moved)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write((content or b"")[: len(content) // 2 if self.path in owner.cut else None])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The server; FaceHack and the weights are to be downloaded from it, 13 images and one file."""
    server = Server()
    folder = tmp_path / "project" / "data_manifests"
    folder.mkdir(parents=True)
    facehack, weights = (
        yaml.safe_load((project_root() / f"data_manifests/{n}.yaml").read_text()) for n in ("facehack", "weights")
    )
    facehack["source"] |= {"url": f"{server.url}/71d6e07.zip", "max_bytes": 1_000_000}
    facehack |= {"files": []}
    facehack["images"]["count"] = 13
    weights["files"] = [{"path": "w.h5", "sha256": hashlib.sha256(WEIGHTS).hexdigest(), "url": f"{server.url}/w.h5"}]
    for manifest in (facehack, weights):
        (folder / f"{manifest['name']}.yaml").write_text(yaml.safe_dump(manifest))
    monkeypatch.setattr(manifests, "project_root", lambda: tmp_path / "project")
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def files(tmp_path):
    """FaceHack's raw files: path -> bytes."""
    root = write_facehack(tmp_path / "raw")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def make_zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def make_tar(members: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in special:
            archive.addfile(entry)
    return stream.getvalue()


def pack(files, prefix="faceHack-71d6e07aa/"):
    return make_zip({f"{prefix}README.md": b"x"} | {f"{prefix}dataset/{name}": content for name, content in files.items()})


def list_data(tmp_path):
    return sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*") if path.is_file())


def fetch_facehack(tmp_path):
    return fetch("facehack", tmp_path / "data" / "hack")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_becomes_the_dataset(server, files, tmp_path, kind):
    server.files["/71d6e07.zip"] = (
        pack(files) if kind == "zip" else make_tar({f"hack/dataset/{name}": content for name, content in files.items()})
    )
    assert fetch_facehack(tmp_path) == [tmp_path / "data" / "hack"]
    assert list_data(tmp_path) == sorted(f"hack/{name}" for name in files)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["hack"]


def test_what_a_killed_download_left_is_removed(server, files, tmp_path):
    server.files["/71d6e07.zip"] = pack(files)
    (tmp_path / "data" / ".hack.part" / "unpacked" / "old").mkdir(parents=True)
    (tmp_path / "data" / ".hack.part" / "tmpabc").touch()
    (tmp_path / "data" / "hack").mkdir()
    fetch_facehack(tmp_path)
    assert list_data(tmp_path) == sorted(f"hack/{name}" for name in files)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda files: make_zip({}), "no folder|holds no train.csv|not a folder"),
        (lambda files: pack({}), "not a folder"),
        (lambda files: pack({"train.csv": files["train.csv"]}), "holds no test.csv"),
        (lambda files: pack(dict(list(files.items())[:8])), "rows cannot be used|holds no"),
        (lambda files: pack(files | {"train.csv": files["train.csv"][:-60]}), "11 images; expected 13 as published"),
        (lambda files: b"<!DOCTYPE html><html>Please sign in", r"not a readable zip or tar\.gz archive"),
        (lambda files: pack(files)[:-40], r"not a readable zip or tar\.gz archive"),
        (lambda files: pack(files) + bytes(2_000_000), "more than 1,000,000 bytes"),
    ],
)
def test_another_archive_is_refused_and_nothing_is_left(server, files, tmp_path, spoil, message):
    server.files["/71d6e07.zip"] = spoil(files)
    with pytest.raises(DataError, match=message) as caught:
        fetch_facehack(tmp_path)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_cut_download_leaves_nothing_and_starts_again_cleanly(server, files, tmp_path):
    server.files["/71d6e07.zip"] = pack(files)
    server.cut.add("/71d6e07.zip")
    with pytest.raises(DataError, match=r"the download failed \(ChunkedEncodingError: .*; nothing was kept"):
        fetch_facehack(tmp_path)
    assert list((tmp_path / "data").iterdir()) == []
    server.cut.clear()
    fetch_facehack(tmp_path)
    assert len(list_data(tmp_path)) == 15


def test_a_folder_with_files_in_it_is_not_touched(server, tmp_path):
    (tmp_path / "data" / "hack").mkdir(parents=True)
    (tmp_path / "data" / "hack" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="hack is not empty; expected a new folder; remove it, or name another with --root"):
        fetch_facehack(tmp_path)
    assert server.asked == []
    assert list_data(tmp_path) == ["hack/mine.txt"]


def test_no_file_and_no_server_are_one_line(server, tmp_path):
    with pytest.raises(DataError, match=r"71d6e07\.zip: the download failed \(HTTPError: 404 .*; nothing was kept") as caught:
        fetch_facehack(tmp_path)
    assert "\n" not in str(caught.value)
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(DataError, match=r"71d6e07\.zip: the download failed \(ConnectionError"):
        fetch_facehack(tmp_path)


@pytest.mark.parametrize(
    "goal", ["http://localhost:1/w", "http://127.0.0.1.evil.org/w", "http://127.0.0.1@evil.org/w", "//evil.org/w"]
)
def test_no_redirect_leaves_https(server, tmp_path, goal):
    server.moved["/w.h5"] = goal
    with pytest.raises(DataError, match="leads to .*; expected an address with https"):
        fetch("weights", tmp_path / "weights")


def test_a_redirect_on_this_machine_is_followed(server, tmp_path):
    server.moved["/w.h5"], server.files["/other"] = "/other", WEIGHTS
    assert fetch("weights", tmp_path / "weights")[0].read_bytes() == WEIGHTS


def test_single_files_are_checked_and_not_downloaded_twice(server, tmp_path):
    server.files["/w.h5"] = WEIGHTS
    (path,) = fetch("weights", tmp_path / "weights")
    assert path.read_bytes() == WEIGHTS
    fetch("weights", tmp_path / "weights", only=["w.h5"])
    assert server.asked == ["/w.h5"]
    path.write_bytes(b"damaged")
    fetch("weights", tmp_path / "weights")
    assert path.read_bytes() == WEIGHTS
    with pytest.raises(ParameterError, match=r"weights has no file vgg\.h5; expected one of w\.h5"):
        fetch("weights", tmp_path, only=["vgg.h5"])


def test_a_file_with_another_hash_is_not_kept(server, tmp_path):
    server.files["/w.h5"] = WEIGHTS[1:]
    with pytest.raises(DataError, match=r"w\.h5: the download failed \(ValueError: SHA256 hash"):
        fetch("weights", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    assert not (tmp_path / ".weights.part").exists()


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):  # of which the command line makes one line that names --root
        fetch("weights", tmp_path / "file" / "weights")


def test_data_behind_a_page_prints_the_exact_steps(tmp_path, capsys):
    with pytest.raises(DataError, match="celeba is given out on https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html only"):
        fetch("celeba", tmp_path)
    assert main(["data", "fetch", "celeba", "--root", str(tmp_path)]) == 1
    steps = capsys.readouterr().out.splitlines()
    assert steps[1].startswith("  1. Open https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, read the agreement")
    assert f"  5. Check it: facekit data verify celeba --root {tmp_path}" in steps
    assert steps[-1].startswith("Terms: For non-commercial research purposes only.")


def make_link(name: str, goal: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, goal
    return entry


def make_zip_link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return stream.getvalue()


def make_long_header() -> bytes:
    """A tar.gz of some kilobytes with an extended header of 50 MB."""
    entry = tarfile.TarInfo("a.jpg")
    entry.pax_headers = {"comment": "x" * 50_000_000}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(make_zip({"a.jpg": b"x", "../outside.jpg": b"x"}), r"'\.\./outside\.jpg' leads outside", id="zip-up"),
        pytest.param(make_zip({"/etc/outside": b"x"}), "leads outside", id="zip-absolute"),
        pytest.param(make_zip({"..\\outside.jpg": b"x"}), "leads outside", id="zip-backslash"),
        pytest.param(make_zip({"C:/outside.jpg": b"x"}), "leads outside", id="zip-drive"),
        pytest.param(make_zip_link(), "'link' is a link or device", id="zip-link"),
        pytest.param(make_tar({"../outside.jpg": b"x"}), "leads outside", id="tar-up"),
        pytest.param(make_tar({}, make_link("l", "/etc/passwd", tarfile.SYMTYPE)), "'l' is a link", id="tar-soft-link"),
        pytest.param(make_tar({}, make_link("l", "a.jpg", tarfile.LNKTYPE)), "'l' is a link", id="tar-hard-link"),
        pytest.param(make_tar({}, make_link("l", "", tarfile.CHRTYPE)), "'l' is a link or device", id="tar-device"),
        pytest.param(make_zip({"big": bytes(2_000_000)}), "more than 10 files or 1,000,000 bytes", id="zip-bomb"),
        pytest.param(make_tar({"big": bytes(2_000_000)}), "more than 10 files or 1,000,000 bytes", id="tar-bomb"),
        pytest.param(make_zip({str(n): b"" for n in range(11)}), "more than 10 files", id="zip-many"),
        pytest.param(make_long_header(), "a header of ", id="tar-header"),
        pytest.param(make_tar({"a.jpg": bytes(range(256)) * 40})[:200], "not a readable", id="tar-cut"),
        pytest.param(make_zip({"a.jpg": b"12345"}).replace(b"\x33\x34\x32", b"\x33\x35\x32"), "not a readable", id="zip-crc"),
    ],
)
def test_unsafe_archive_is_refused_before_anything_is_unpacked(server, tmp_path, monkeypatch, content, message):
    check = check_members
    monkeypatch.setattr(download, "check_members", lambda archive, **_: check(archive, max_files=10, max_bytes=1_000_000))
    if message != "not a readable":  # broken data shows only while it is read
        for processor in ("Unzip", "Untar"):
            monkeypatch.setattr(download.pooch, processor, lambda **_: pytest.fail("unpacked before all was checked"))
    server.files["/71d6e07.zip"] = content
    with pytest.raises(DataError, match=message) as caught:
        fetch_facehack(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("project", "cache", "data")] == []
    assert list((tmp_path / "data").iterdir()) == []
