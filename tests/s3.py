"""A real S3 server on loopback, behind a proxy that breaks some of the requests."""

import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote
from urllib.request import Request, urlopen

import fsspec
import fsspec.config
from moto.server import ThreadedMotoServer

BUCKET = "rows"
READ_TIMEOUT = 0.25
"""Seconds after which the client stops waiting for an answer."""

CUT = ("half a body", "half a body that looks whole")
TRANSIENT = ("503", "reset", "time-out", *CUT)
FLIPPED = "flipped bytes"
"""A body of the right length with some changed bytes."""

DOWN = "down"
"""The request does not reach the store. After a reset, the store has done what it was asked."""

OF_DATA = (*CUT, FLIPPED)
"""Faults that apply only to the bytes of an object, and not to listings and look-ups."""


class Faults:
    """The faults of a random share of the requests.

    Args:
        share: 0 to 1.
        where: A text in the URLs of the requests that may fail.
    """

    def __init__(self, share: float = 0.0, *, kinds: Sequence[str] = TRANSIENT, seed: int = 0, where: str = "") -> None:
        self.share, self.kinds, self.where = share, kinds, where
        self.injected: Counter[str] = Counter()
        self._chooser, self._lock = random.Random(seed), threading.Lock()

    def next(self, url: str, *, is_data: bool) -> str | None:
        with self._lock:
            kind = self._chooser.choice(self.kinds) if self._chooser.random() < self.share else None
            if kind is None or self.where not in unquote(url) or (kind in OF_DATA and not is_data):
                return None
            self.injected[kind] += 1
            return kind

    def flipped(self, body: bytes) -> bytes:
        """The body with three changed bytes."""
        with self._lock:
            offsets = self._chooser.sample(range(len(body)), min(3, len(body)))
        return bytes(byte ^ 0x15 if offset in offsets else byte for offset, byte in enumerate(body))


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults
    traffic: Counter[str]
    upstream: tuple[str, int]

    def do_GET(self) -> None:
        self._forward()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _forward(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length") or 0))
        is_data = self.command == "GET" and "list-type" not in self.path
        kind = self.faults.next(self.path, is_data=is_data)
        if kind == DOWN:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        connection = http.client.HTTPConnection(*self.upstream)
        connection.request(self.command, self.path, body=sent, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.traffic.update(requests=1, bytes=len(body))
        self._answer(answer, body, kind)

    def _answer(self, answer: http.client.HTTPResponse, body: bytes, kind: str | None) -> None:
        if kind == "time-out":
            time.sleep(2 * READ_TIMEOUT)
        if kind in ("reset", "time-out"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if kind == "503":
            self._slow_down()
            return
        sent = body[: len(body) // 2] if kind in CUT else self.faults.flipped(body) if kind == FLIPPED else body
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        length = len(sent) if kind == "half a body that looks whole" else len(body)
        if self.command == "HEAD":
            length = int(answer.getheader("content-length") or 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(sent)
        if kind == "half a body":
            self.close_connection = True

    def _slow_down(self) -> None:
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


class Server:
    """Both endpoints, and the options of a client for the endpoint behind the proxy."""

    def __init__(self, direct: str, proxied: str, proxy: type[_Proxy]) -> None:
        self.direct, self.proxied, self._proxy = direct, proxied, proxy

    @property
    def options(self) -> dict[str, Any]:
        """`storage_options` for the proxy, with credentials that no message may show."""
        return {
            "key": "AKIAEXAMPLEKEY",
            "secret": "s3cr3t-of-the-tests",
            "endpoint_url": self.proxied,
            "config_kwargs": {"read_timeout": READ_TIMEOUT, "retries": {"max_attempts": 1}},
        }

    def write(self, path: str, content: bytes, *, checksum: bool = True) -> str:
        """The URL of a new object, with a CRC-32 in the store, or without one as from older clients."""
        checksums = {"request_checksum_calculation": "when_supported" if checksum else "when_required"}
        files = fsspec.filesystem("s3", **{**self.options, "endpoint_url": self.direct, "config_kwargs": checksums})
        files.pipe_file(f"{BUCKET}/{path}", content)
        return f"s3://{BUCKET}/{path}"

    @contextmanager
    def as_default(self) -> Iterator[str]:
        """Inside the context, URLs without options lead to the proxy; gives the URL of the bucket."""
        before = fsspec.config.conf.get("s3", {})
        fsspec.config.conf["s3"] = self.options
        try:
            yield f"s3://{BUCKET}"
        finally:
            fsspec.config.conf["s3"] = before

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """The number of `requests` inside the context, and the `bytes` of their answers."""
        traffic = self._proxy.traffic = Counter()
        yield traffic

    @contextmanager
    def broken(self, share: float, **kwargs: Any) -> Iterator[Faults]:
        """A share of the requests fails inside the context."""
        faults = self._proxy.faults = Faults(share, **kwargs)
        try:
            yield faults
        finally:
            self._proxy.faults = Faults()


@contextmanager
def serve(*, bucket: str = BUCKET) -> Iterator[Server]:
    """An S3 server with an empty bucket."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()

    class Proxy(_Proxy):
        faults, traffic, upstream = Faults(), Counter[str](), (host, port)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    server = Server(f"http://{host}:{port}", f"http://127.0.0.1:{proxy.server_port}", Proxy)
    urlopen(Request(f"{server.direct}/moto-api/reset", method="POST")).close()  # the servers of a process share objects
    fsspec.filesystem("s3", **{**server.options, "endpoint_url": server.direct}).mkdir(bucket)
    try:
        yield server
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.stop()
