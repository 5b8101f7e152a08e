"""The demo: which runs answer, who may ask, what is kept, and in a real browser that nothing is asked from elsewhere."""

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from saved_runs import build_network, save_every_kind, save_run

from facekit import cli, demo
from facekit.errors import ParameterError, WeightsError
from facekit.models import saved
from facekit.paths import project_root

gradio = pytest.importorskip("gradio", reason="Gradio is not installed: requirements-demo.txt")
uvicorn = pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    save_every_kind(folder / "laptop" / "selfie-task1")
    classes = {"classes": ["NOT smile", "positive smile", "negative smile"]}
    network = build_network({"smile": (3, "softmax")}, seed=2)
    save_run(folder / "sample" / "smile", {"model": (network, classes)}, kind="synthetic")
    return folder


@pytest.fixture(scope="module")
def address(reports):
    """The demo in a process of its own, as users start it; at the end it is interrupted and must leave nothing behind."""
    words = ["demo", str(reports / "laptop" / "selfie-task1"), str(reports / "sample" / "smile"), "--port", "0"]
    command = [sys.executable, "-m", "facekit", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=project_root()) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 200, 3), np.uint8)).save(path)
    return path


def test_the_newest_run_of_every_task_and_why_others_are_left_out(reports, monkeypatch, capsys):
    monkeypatch.setattr(demo, "list_tasks", lambda: ["age", "selfie-task1", "smile"])
    assert [run.name for run in demo.load_runs([], reports)] == ["laptop/selfie-task1", "sample/smile"]
    assert capsys.readouterr().out.startswith("left out: age: no run with a model")


def test_without_a_run_that_predicts_there_is_no_page(reports, tmp_path, monkeypatch, capsys):
    with pytest.raises(WeightsError, match="^no run with a model .*; make one: make smile$"):
        demo.load_runs([], tmp_path)
    with pytest.raises(WeightsError, match="age: no run with a model"):
        demo.load_runs(["smile", "age"], reports)
    monkeypatch.setattr(saved, "project_root", lambda: tmp_path)
    assert cli.main(["demo", str(tmp_path), "--port", "0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_without_gradio_the_way_to_get_it_is_said(reports, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["demo", str(reports / "sample" / "smile"), "--port", "0"]) == 1
    assert "make demo, which installs requirements-demo.txt" in capsys.readouterr().err


def test_ports_that_cannot_be_had(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], -1, 70_000):
            with pytest.raises(ParameterError, match=f"port {port}.*; expected a free one of 1024 to 65535, or 0"):
                demo.run_demo([], port)


def ask(address, path="/", host=None, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=60)
    connection.request(method, path, body, headers | ({"Host": host} if host else {}))
    reply = connection.getresponse()
    status, text = reply.status, reply.read()
    connection.close()
    return status, text


def test_only_this_computer_under_its_own_name(address):
    status, text = ask(address)
    assert (status, b"Predict your own photo" in text) == (200, True)
    assert ask(address, host="localhost")[0] == 200
    assert ask(address, host="evil.example")[0] == 400
    assert ask(address, "/gradio_api/file=/etc/passwd")[0] in (403, 404)
    assert ask(address, "/docs")[0] == 404
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((own, port), timeout=5)


def test_large_uploads_are_refused(address):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask(address, "/gradio_api/upload", method="POST", body=head + bytes(1000) + b"\r\n--x--\r\n", **kind)[0] == 200
    large = head + bytes(21_000_000) + b"\r\n--x--\r\n"
    assert ask(address, "/gradio_api/upload", method="POST", body=large, **kind)[0] == 413


def test_too_many_connections_are_refused_politely_and_pass(address):
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(demo.CONNECTIONS + 6)]
        for connection in slow:  # a request that never ends
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        time.sleep(1)
        assert ask(address)[0] == 503
    for _ in range(50):
        status = ask(address)[0]
        if status == 200:
            break
        time.sleep(0.2)
    assert status == 200


def test_parallel_uploads_are_answered_or_refused_never_reset(address):
    found = []
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    def upload():
        body = head + bytes(500_000) + b"\r\n--x--\r\n"
        found.append(ask(address, "/gradio_api/upload", method="POST", body=body, **kind)[0])

    threads = [threading.Thread(target=upload) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 50
    assert set(found) <= {200, 503}


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, {"width": 390, "height": 844}])
def test_a_photo_is_answered_and_nothing_is_asked_from_elsewhere(browser, address, face, tmp_path, viewport):
    context = browser.new_context(viewport=viewport)
    context.set_default_timeout(120_000)
    outside, page = [], context.new_page()

    def watch(route):
        own = route.request.url.startswith((address, "data:", "blob:"))
        if not own:
            outside.append(route.request.url)
        route.continue_() if own else route.abort()

    context.route("**/*", watch)
    page.goto(address)
    page.locator("input[type=file]").set_input_files(str(face))
    page.wait_for_function("[...document.querySelectorAll('textarea')].some(area => area.value === 'positive 70%')")
    texts = page.eval_on_selector_all("textarea", "areas => areas.map(area => area.value)")
    assert texts[:4] == ["4.25", "not is_female 75%", "Hat 90%, Eyeglasses 40%", "positive 70%"]
    # Gradio loads the images that are in view.
    page.wait_for_function("[...document.images].filter(image => image.naturalWidth > 150).length >= 2")
    page.screenshot(path=tmp_path / "demo.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.get_by_label("Remove Image").first.click()
    page.locator("input[type=file]").set_input_files(str(tmp_path / "broken.png"))
    page.get_by_text("the photo is no image that can be read").first.wait_for()
    assert outside == []
    context.close()


def test_the_camera(browser, address):
    context = browser.new_context(permissions=["camera"])
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(address)
    page.get_by_label("Capture from camera").first.click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function(
        "[...document.querySelectorAll('video')].some(video => video.videoWidth > 0 && video.currentTime > 0)"
    )
    page.get_by_label("capture photo").click()
    page.wait_for_function("[...document.querySelectorAll('textarea')].some(area => area.value === 'positive 70%')")
    context.close()
