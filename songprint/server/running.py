"""Running the service: opens the socket and runs the application on it."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.errors import LibraryError, SettingsError
from songprint.server import create_app
from songprint.server.guard import is_loopback

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.library import Library

BACKLOG = 2048  # connections that the operating system queues
SHUTDOWN_SECONDS = 5  # that requests have to finish when the server stops


@dataclass(frozen=True)
class Started:
    """A server that accepts connections."""

    url: str
    open_to_all: bool  # there are no keys: every local user may do everything


def serve(library: Library, settings: Settings, *, on_start: Callable[[Started], None]) -> None:
    """Answer requests until SIGINT or SIGTERM.

    Raises SettingsError if the server would listen for other machines without any keys, or cannot listen there, and
    LibraryError if the library is read-only.
    """
    import uvicorn

    from songprint.server import connections

    server = settings.server
    if library.store.catalog.readonly:
        raise LibraryError(f"the library at {library.path} is read-only, but a server keeps its jobs in it")
    database = library.store.catalog.database
    keys = Keys(database, Vault(database, library.path))
    if not is_loopback(server.host) and not keys.any():
        raise SettingsError(
            f"host={server.host} lets other machines connect, but there are no keys, so anyone could do"
            " everything. Make a key with `songprint keys create`, or listen on 127.0.0.1"
        )
    connections.raise_file_limit(server.max_connections)
    with _listen(server.host, server.port) as listener:
        config = uvicorn.Config(
            create_app(library, settings=settings),
            # h11 limits the size of headers, which the faster parser of uvicorn does not.
            http=cast("type[asyncio.Protocol]", connections.Limits(server).protocol),
            ws="none",
            timeout_keep_alive=math.ceil(server.idle_timeout),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(server.trusted_proxies),
            forwarded_allow_ips=list(server.trusted_proxies),
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            backlog=BACKLOG,
            lifespan="on",
        )
        running = uvicorn.Server(config)
        host = f"[{server.host}]" if ":" in server.host else server.host
        on_start(Started(f"http://{host}:{listener.getsockname()[1]}", not keys.any()))
        running.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(f"host={host} is not an address of this machine: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # connections queue from here on, while the application still starts
    except OSError as error:
        listener.close()
        causes = {
            errno.EADDRINUSE: "another program listens there. Choose another port with --port",
            errno.EACCES: "this user has no permission. Choose a port above 1023 with --port",
            errno.EADDRNOTAVAIL: "it is not an address of this machine",
        }
        cause = causes.get(error.errno or 0, error.strerror or error)
        raise SettingsError(f"cannot listen on {host} port {port}: {cause}") from error
    return listener
