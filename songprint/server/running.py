"""Running the service: a socket, the application on it, and what is told on the way."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.config import Settings
from songprint.errors import LibraryError, SettingsError
from songprint.library import Library
from songprint.server import create_app
from songprint.server.guard import is_loopback

log = logging.getLogger(__name__)

WAITING_CONNECTIONS = 2048
GRACE = 5  # seconds that requests have for ending when the server stops


@dataclass(frozen=True)
class Started:
    """Where a server listens, and whom it answers."""

    url: str
    open_to_all: bool  # without keys: whoever is at this machine may do everything


def serve(library: Library, settings: Settings, *, on_start: Callable[[Started], None]) -> None:
    """Answer requests until SIGINT or SIGTERM.

    SettingsError where others than this machine could connect while there are no keys, or where nobody can.
    """
    import uvicorn

    server = settings.server
    if library.store.catalog.readonly:
        raise LibraryError(f"the library at {library.path} is read-only: a server keeps its jobs in it")
    database = library.store.catalog.database
    keys = Keys(database, Vault(database, library.path))
    if not is_loopback(server.host) and not keys.any():
        raise SettingsError(
            f"host={server.host} lets other machines connect, and there are no keys: anybody could do"
            " everything. Make one with `songprint keys create`, or listen on 127.0.0.1"
        )
    with _listening(server.host, server.port) as listener:
        config = uvicorn.Config(
            create_app(library, settings=settings),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(server.trusted_proxies),
            forwarded_allow_ips=list(server.trusted_proxies),
            timeout_graceful_shutdown=GRACE,
            backlog=WAITING_CONNECTIONS,
            lifespan="on",
        )
        running = uvicorn.Server(config)
        host = f"[{server.host}]" if ":" in server.host else server.host
        on_start(Started(f"http://{host}:{listener.getsockname()[1]}", not keys.any()))
        running.run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(f"host={host} is no address of this machine: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(WAITING_CONNECTIONS)  # from now on nobody is turned away while the rest starts
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: "something listens there already. Choose another with --port",
            errno.EACCES: "this user may not. Choose a port above 1023 with --port",
            errno.EADDRNOTAVAIL: "it is no address of this machine",
        }
        raise SettingsError(
            f"cannot listen on {host} port {port}: {why.get(error.errno, error.strerror or error)}"
        ) from error
    return listener
