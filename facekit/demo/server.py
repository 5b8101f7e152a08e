"""The demo's server: a page, its script, and one answer a request, for this machine alone.

The traps this prevents: a server that the whole network reaches; a page from elsewhere that asks this one, or takes its name
(the headers Host and Origin are held against the own address); an upload that fills the memory; and a photograph that stays
behind in a log or in a browser's cache.
"""

import re
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from facekit.errors import FacekitError, ParameterError

HOST = "127.0.0.1"
MAXIMUM_BYTES = 20_000_000  # a telephone of 50 megapixels stays below
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src blob: data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SCRIPT = Path(__file__).parent / "demo.js"


class DemoServer(ThreadingHTTPServer):
    """Listens from its making on, to this machine alone; `serve` answers.

    Args:
        port: 0 takes a free one.

    Raises:
        ParameterError: the port is taken, or none that may be listened on.
    """

    def __init__(self, port: int):
        if port and not 1024 <= port <= 65535:
            raise ParameterError(f"port {port}", expected="1024 to 65535, or 0, which takes a free one")
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            mend = "choose another; 0 takes a free one"
            raise ParameterError(f"port {port} cannot be listened on: {error.strerror}", mend=mend) from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}
        self.lock = threading.Lock()  # one answer at a time: each wants all cores, and memory

    def server_bind(self) -> None:
        """Bind without HTTPServer's look for the address's name, which may ask the network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def serve(self, page: str, answers: Sequence[Callable[[bytes], str]]) -> None:
        """Answer requests until an interrupt; an answer that is being made is waited for.

        Args:
            page: what stands at /.
            answers: answers[n] makes of a photograph what stands at /answers/n.
        """
        self.page, self.answers = page, answers
        try:
            self.serve_forever()
        finally:
            self.lock.acquire(timeout=10)  # TensorFlow does not take it well when the process ends under it

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong on the terminal, but not that a browser went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    server_version, sys_version = "facekit", ""
    timeout = 30  # seconds that a browser may be silent within a request

    def do_GET(self) -> None:
        """Send the page or its script."""
        if self._is_foreign():
            return
        if self.path == "/":
            self._send(200, self.server.page, "text/html")
        elif self.path == "/demo.js":
            self._send(200, _SCRIPT.read_text(encoding="utf-8"), "text/javascript")
        else:
            self._send(404, "There is nothing here.")

    def do_POST(self) -> None:
        """Answer for the photograph that is the request's body."""
        if self._is_foreign():
            return
        if self.headers.get_all("Origin", []) not in [[origin] for origin in self.server.origins]:
            self._send(403, "Only the demo's own page may ask here.")
            return
        number = re.fullmatch("/answers/([0-9]{1,3})", self.path)
        if not number or int(number[1]) >= len(self.server.answers):
            self._send(404, "There is nothing here.")
            return
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", length):
            self._send(411, "The photograph's length is missing.")
        elif int(length) > MAXIMUM_BYTES:
            limit = f"at most {MAXIMUM_BYTES / 1e6:.0f} MB are taken; make it smaller."
            self._send(413, f"The photograph has {int(length) / 1e6:.1f} MB, {limit}")
        else:
            data = self.rfile.read(int(length))
            if len(data) == int(length):  # else the browser went away
                self._answer(self.server.answers[int(number[1])], data)

    def _answer(self, answer: Callable[[bytes], str], data: bytes) -> None:
        try:
            with self.server.lock:
                text = answer(data)
        except FacekitError as error:
            self._send(422, str(error))
        else:
            self._send(200, text, "text/html")

    def _is_foreign(self) -> bool:
        """Refuse a request to another name: a page from elsewhere whose name was made to lead here."""
        if self.headers.get_all("Host", []) in [[host] for host in self.server.hosts]:
            return False
        self._send(403, f"This is http://{HOST}:{self.server.server_port}/ and answers to no other name.")
        return True

    def _send(self, status: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Log nothing."""
