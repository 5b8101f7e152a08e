"""`facekit demo`: a page on this computer on which every trained network predicts an uploaded or camera photo.

Gradio (requirements-demo.txt) draws the page. It is served here, not by its `launch`: other names than this computer's are
refused (another site could lead here by one), the number of connections is bounded, and photos are deleted at the end.
"""

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from facekit.data.images import read_image
from facekit.errors import FacekitError, ParameterError, WeightsError
from facekit.models import gradcam
from facekit.models.saved import Predictor, find_run
from facekit.predict import shrink
from facekit.reporting.parameters import list_tasks

HOST, CONNECTIONS, LARGEST = "127.0.0.1", 64, "20mb"  # a photo of 50 megapixels stays below
INTRODUCTION = """# Predict your own photo
The photo stays on this computer and is deleted when the demo ends. Ask before you take somebody else's.
Grad-CAM shows where a network looked, not why: brighter = more influence."""


def load_runs(given: Sequence[str], reports: Path | None = None) -> list[Predictor]:
    """Load runs (folders or tasks; empty: every task's newest one); WeightsError where there is none with a model."""
    runs = []
    for word in given or list_tasks():
        try:
            runs.append(Predictor(find_run(word, reports)))
        except WeightsError as error:
            if given:
                raise
            print(f"left out: {error}")
    if not runs:
        raise WeightsError("no run with a model (committed runs leave it out)", hint="make one: make smile")
    return runs


def build_app(runs: Sequence[Predictor]):
    """Return an application that shows for each output the prediction, its probabilities and Grad-CAM."""
    import gradio
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    def predict(path: str | None) -> list:
        if path is None:
            return [None] * len(shown)
        try:
            photo, results = read_image(path), []
        except FacekitError as error:
            raise gradio.Error(str(error).replace(path, "the photo"), print_exception=False) from None
        for answer in [answer for run in runs for answer in run.predict([photo], explain=True)]:
            probabilities = dict(zip(answer.classes, map(float, answer.values[0]), strict=False))
            results += [answer.describe(0), probabilities or None, gradcam.overlay(shrink(photo), answer.maps[0])]
        return results

    with gradio.Blocks(title="facekit: predict your own photo", analytics_enabled=False, delete_cache=(60, 600)) as page:
        gradio.Markdown(INTRODUCTION)
        photo, shown = gradio.Image(label="photo", sources=["upload", "webcam"], type="filepath", height=320, buttons=[]), []
        photo.preprocess = lambda sent: sent and sent.path  # the file itself: read_image decodes it, as it does for training
        for run in runs:
            gradio.Markdown(f"## {run.name}\n{run.note}")
            for name in run.outputs:
                with gradio.Row():
                    with gradio.Column():
                        shown.append(gradio.Textbox(label=name))
                        shown.append(gradio.Label(show_label=False, show_heading=False, num_top_classes=8))
                    shown.append(gradio.Image(label=f"Grad-CAM: {name}", format="jpeg", height=256, buttons=[]))
        photo.change(predict, photo, shown, api_visibility="private")
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return gradio.mount_gradio_app(app, page.queue(max_size=16), path="/", max_file_size=LARGEST, footer_links=[])


def run_demo(given: Sequence[str] = (), port: int = 8000) -> None:
    """Serve the page of `load_runs` on this computer alone, at `port` (0: any free one), until Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="facekit-demo-") as folder:
        # Read when Gradio is imported: where it keeps uploads, and that it asks nothing from elsewhere.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        try:
            import uvicorn

            if not 0 <= port <= 65_535:  # socket.create_server would leave its socket open
                raise OSError(0, "no port")
            listener = socket.create_server((HOST, port))
        except ImportError as error:
            raise FacekitError(f"the demo needs {error.name}", hint="make demo, which installs requirements-demo.txt") from None
        except OSError as error:
            raise ParameterError(f"port {port}: {error.strerror}", expected="a free one of 1024 to 65535, or 0") from None
        with listener:
            app = build_app(load_runs(given))
            print(f"http://{HOST}:{listener.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
            limits = {"limit_concurrency": CONNECTIONS, "timeout_keep_alive": 5, "timeout_graceful_shutdown": 1}
            uvicorn.Server(uvicorn.Config(app, log_level="error", **limits)).run(sockets=[listener])
