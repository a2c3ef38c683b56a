"""Addresses of servers, as settings give them: a URL that may hold a password, which is never shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from songprint.errors import SettingsError

PORTS = {"mysql": 3306, "postgresql": 5432}
ALSO_CALLED = {"mariadb": "mysql", "postgres": "postgresql"}
OPTIONS = ("socket", "tls", "tls_ca")
TLS = ("off", "on", "verify")
EXAMPLES = "mysql://USER:PASSWORD@HOST/NAME or postgresql://USER:PASSWORD@HOST/NAME"


@dataclass(frozen=True)
class DatabaseAddress:
    """Where a database lies on a server. As text it has no password.

    >>> print(DatabaseAddress.parse("mariadb://me:secret@db.local/music"))
    mysql://me@db.local:3306/music
    """

    scheme: str  # mysql (MariaDB too) or postgresql
    user: str
    password: str = field(repr=False)
    host: str
    port: int
    name: str
    socket: str = ""  # the path of a Unix socket; empty: by the network
    tls: str = "off"  # on: encrypted; verify: and the server's certificate is checked
    tls_ca: str = ""  # a file with the certificates that are trusted; empty: those of the system

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Raises SettingsError, which does not repeat the URL: it holds a password."""
        try:
            parts = urlsplit(url)
            port, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise _refused("its port, brackets or options (after the ?) cannot be read") from error
        scheme = ALSO_CALLED.get(parts.scheme, parts.scheme)
        if scheme not in PORTS:
            raise _refused("it names no kind of database that Songprint knows; leave it empty for SQLite")
        name = unquote(parts.path.strip("/"))
        if not name or "/" in name:
            raise _refused("it names no database after the host")
        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise _refused(f"its option '{unknown[0]}' is not known; known are {', '.join(OPTIONS)}")
        if options.get("tls", "off") not in TLS:
            raise _refused(f"its option tls must be one of {', '.join(TLS)}")
        return cls(
            scheme,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.hostname or "127.0.0.1",
            port or PORTS[scheme],
            name,
            **options,
        )

    @property
    def server(self) -> str:
        """Which server, without the database."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.socket or f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.user}@{self.server}/{self.name}"


@dataclass(frozen=True)
class MilvusAddress:
    """Where Milvus is: a server, or a path of Milvus Lite. As text it has no password.

    >>> print(MilvusAddress.parse("milvus:http://root:secret@vectors.local:19530"))
    milvus:http://vectors.local:19530
    """

    uri: str  # http://HOST:PORT, or a path that ends in .db
    token: str = field(repr=False)  # USER:PASSWORD, or an API key; empty: none is needed
    lite: bool

    @classmethod
    def parse(cls, text: str) -> MilvusAddress:
        """Raises SettingsError, which does not repeat the text: it may hold a password."""
        kind, _, uri = text.partition(":")
        if kind != "milvus" or not uri:
            raise _no_index("leave it empty for the index in the library folder")
        if uri.endswith(".db") and "://" not in uri:
            return cls(str(Path(uri).expanduser().absolute()), "", True)
        try:
            parts = urlsplit(uri)
            port = parts.port or 19530
        except ValueError as error:
            raise _no_index("its port or brackets cannot be read") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _no_index("what follows milvus: is neither a web address nor a path that ends in .db")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        token = ":".join(unquote(each) for each in (parts.username, parts.password) if each)
        return cls(f"{parts.scheme}://{host}:{port}{parts.path}", token, False)

    def __str__(self) -> str:
        return f"milvus:{self.uri}"


def _no_index(why: str) -> SettingsError:
    return SettingsError(
        "the setting `index` must be milvus:http://HOST:19530, milvus:http://USER:PASSWORD@HOST:19530"
        f" or milvus:FOLDER/FILE.db: {why}"
    )


def _refused(why: str) -> SettingsError:
    return SettingsError(f"the setting `database` must be {EXAMPLES}: {why}")
