"""Addresses of servers in settings: URLs that may contain a password, which messages never show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from songprint.errors import SettingsError

PORTS = {"mysql": 3306, "postgresql": 5432}
ALIASES = {"mariadb": "mysql", "postgres": "postgresql"}
OPTIONS = ("socket", "tls", "tls_ca")
TLS = ("off", "on", "verify")
EXAMPLES = "mysql://USER:PASSWORD@HOST/NAME or postgresql://USER:PASSWORD@HOST/NAME"


@dataclass(frozen=True)
class DatabaseAddress:
    """The address of a database on a server. Converting it to text omits the password.

    >>> print(DatabaseAddress.parse("mariadb://me:secret@db.local/music"))
    mysql://me@db.local:3306/music
    """

    scheme: str  # mysql (MariaDB too) or postgresql
    user: str
    password: str = field(repr=False)
    host: str
    port: int
    name: str
    socket: str = ""  # path of a Unix socket; empty: TCP
    tls: str = "off"  # "on" encrypts; "verify" also checks the certificate of the server
    tls_ca: str = ""  # file with the trusted certificates; empty: those of the system

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Parse a URL. Raises SettingsError, whose message omits the URL because it may contain a password."""
        try:
            parts = urlsplit(url)
            port, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise _database_error("its port, brackets or options (after the ?) cannot be read") from error
        scheme = ALIASES.get(parts.scheme, parts.scheme)
        if scheme not in PORTS:
            raise _database_error("it does not start with a supported kind of database; leave it empty for SQLite")
        name = unquote(parts.path.strip("/"))
        if not name or "/" in name:
            raise _database_error("it contains no database name after the host")
        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise _database_error(f"unknown option '{unknown[0]}'; the options are {', '.join(OPTIONS)}")
        if options.get("tls", "off") not in TLS:
            raise _database_error(f"its option tls must be one of {', '.join(TLS)}")
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
        """The server without the database: its host and port, or its socket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.socket or f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.user}@{self.server}/{self.name}"


@dataclass(frozen=True)
class MilvusAddress:
    """The address of a Milvus server, or the file of Milvus Lite. Converting it to text omits the password.

    >>> print(MilvusAddress.parse("milvus:http://root:secret@vectors.local:19530"))
    milvus:http://vectors.local:19530
    """

    uri: str  # http://HOST:PORT, or a path that ends in .db
    token: str = field(repr=False)  # USER:PASSWORD or an API key; empty: no authentication
    lite: bool

    @classmethod
    def parse(cls, text: str) -> MilvusAddress:
        """Parse an address. Raises SettingsError, whose message omits it because it may contain a password."""
        kind, _, uri = text.partition(":")
        if kind != "milvus" or not uri:
            raise _index_error("leave it empty for the index in the library folder")
        if uri.endswith(".db") and "://" not in uri:
            return cls(str(Path(uri).expanduser().absolute()), "", True)
        try:
            parts = urlsplit(uri)
            port = parts.port or 19530
        except ValueError as error:
            raise _index_error("its port or brackets cannot be read") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _index_error("the part after milvus: is neither a web address nor a path that ends in .db")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        token = ":".join(unquote(each) for each in (parts.username, parts.password) if each)
        return cls(f"{parts.scheme}://{host}:{port}{parts.path}", token, False)

    def __str__(self) -> str:
        return f"milvus:{self.uri}"


def _index_error(reason: str) -> SettingsError:
    return SettingsError(
        "the setting `index` must be milvus:http://HOST:19530, milvus:http://USER:PASSWORD@HOST:19530"
        f" or milvus:FOLDER/FILE.db: {reason}"
    )


def _database_error(reason: str) -> SettingsError:
    return SettingsError(f"the setting `database` must be {EXAMPLES}: {reason}")
