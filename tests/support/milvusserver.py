"""A real Milvus server for tests, from the Python package `milvus` (2.3.5), which contains one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from songprint.address import MilvusAddress
from songprint.errors import LibraryError
from songprint.store.index import milvus

START = 120.0  # seconds


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start a server with its data in `folder`, and yield its setting `index`.

    If `$SONGPRINT_TEST_MILVUS` contains the setting of a running server, that one is used.
    """
    if os.environ.get("SONGPRINT_TEST_MILVUS"):
        yield os.environ["SONGPRINT_TEST_MILVUS"]
        return
    program = Path(sys.executable).with_name("milvus-server")
    if not program.exists():
        pytest.skip("no Milvus server here: `pip install --no-deps milvus==2.3.5` (Linux on x86) installs one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "--data", folder / "data", "--proxy-port", str(port)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        address = f"milvus:http://127.0.0.1:{port}"
        wait_for(address, server, folder / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until the server answers. Skips the test if it does not."""
    give_up, message = time.monotonic() + START, ""
    while time.monotonic() < give_up and server.poll() is None:
        try:
            with milvus.translated_errors(MilvusAddress.parse(address)):
                client = milvus.connect(MilvusAddress.parse(address))
                client.list_collections(timeout=5)
                client.close()
                return
        except LibraryError as error:
            message = str(error)
            time.sleep(1)
    pytest.skip(f"the Milvus server does not start here: {message} {log.read_text(errors='replace')[-300:]}")
