"""Requests sent straight to an ASGI application, with bodies that no HTTP client can send."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

Result = TypeVar("Result")

CHUNK = bytes(8192)


@dataclass
class Exchange:
    """A request with a body in chunks, and its response."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] = field(default_factory=lambda: itertools.repeat(CHUNK))
    pause: float = 0.0  # seconds before each chunk
    leaves: bool = False  # whether the client disconnects after the last chunk, before the end of the body
    http_version: str = "1.1"
    consumed: int = 0  # bytes of the body that the application read
    status: int = 0
    answer: dict[str, str] = field(default_factory=dict)  # headers of the response
    body: bytes = b""

    async def run(self, app: Callable) -> Exchange:
        chunks = iter(self.chunks)

        async def receive() -> dict:
            await asyncio.sleep(self.pause)
            chunk = next(chunks, None)
            if chunk is None:
                if self.leaves:
                    return {"type": "http.disconnect"}
                return {"type": "http.request", "body": b"", "more_body": False}
            self.consumed += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": True}

        async def send(message: dict) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.answer = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message.get("body", b"")

        path, _, query = self.path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.http_version,
            "method": self.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in {"host": "localhost:8080", **self.headers}.items()
            ],
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 8080),
        }
        await app(scope, receive, send)
        return self

    @property
    def json(self) -> dict:
        return json.loads(self.body)


def run(coroutine: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine in a thread, because the browser tests leave an event loop running in the main thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
