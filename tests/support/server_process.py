"""`songprint serve` in a process of its own, with the models that ship."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from support.children import environment


class Server:
    """A running `songprint serve`, and a client of it."""

    def __init__(self, process: subprocess.Popen, url: str) -> None:
        self.process, self.url = process, url
        self.client = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def until_ready(self) -> None:
        give_up = time.monotonic() + 60
        while self.client.get("/readyz").status_code != 200:
            assert time.monotonic() < give_up and self.process.poll() is None
            time.sleep(0.1)


@contextmanager
def serve(library: Path, *arguments: str, **environ: str) -> Iterator[Server]:
    """A server on any free port, ended by SIGTERM."""
    log = library.parent / "log"
    with log.open("ab") as said:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "songprint",
                "--json",
                "--library",
                str(library),
                "serve",
                "--port",
                "0",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment() | environ,
        )
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        server = Server(process, json.loads(line)["url"])
        with server.client:
            yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
