"""A real Milvus server for tests, from the Python package `milvus` (2.3.5), which holds one."""

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
    """The setting `index` of a server whose data lie in the folder; `$SONGPRINT_TEST_MILVUS` names one that runs."""
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
        os.killpg(server.pid, signal.SIGKILL)  # nothing of it is wanted any more
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Until it answers; skips the test if it does not."""
    give_up, said = time.monotonic() + START, ""
    while time.monotonic() < give_up and server.poll() is None:
        try:
            with milvus.translated_errors(MilvusAddress.parse(address)):
                client = milvus.connect(MilvusAddress.parse(address))
                client.list_collections(timeout=5)
                client.close()
                return
        except LibraryError as error:
            said = str(error)
            time.sleep(1)
    pytest.skip(f"the Milvus server does not start here: {said} {log.read_text(errors='replace')[-300:]}")
