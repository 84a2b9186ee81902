"""A real web server on loopback that sends ranges of files, with a delay."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Ranges(SimpleHTTPRequestHandler):
    """Sends the requested bytes of the requested version after `delay` seconds."""

    def __init__(self, *args: Any, delay: float, **kwargs: Any) -> None:
        self.delay = delay
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self._is_missing():
            return
        content, byte_range = self._content(), self.headers.get("Range")
        time.sleep(self.delay)
        if self.headers.get("If-Match") not in (None, _etag(content)):
            self.send_error(412)
            return
        first, last = byte_range.removeprefix("bytes=").split("-") if byte_range else ("0", str(len(content)))
        self._send(206 if byte_range else 200, content[int(first) : int(last) + 1])

    def do_HEAD(self) -> None:
        if not self._is_missing():
            self._send(200, self._content())

    def _is_missing(self) -> bool:
        is_missing = not Path(self.translate_path(self.path)).is_file()
        if is_missing:
            self.send_error(404)
        return is_missing

    def _send(self, status: int, part: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", _etag(self._content()))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def _content(self) -> bytes:
        return Path(self.translate_path(self.path)).read_bytes()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _etag(content: bytes) -> str:
    return f'"{zlib.crc32(content)}"'


@contextmanager
def serve_folder(folder: Path, *, delay: float = 0) -> Iterator[str]:
    """The URL of a folder; each read of a file takes `delay` seconds."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(folder), delay=delay)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
