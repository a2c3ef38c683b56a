"""Addresses of servers in settings: URLs that may contain a password, which messages never show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

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


MILVUS_METHODS = ("ivf_sq8", "hnsw")
MILVUS_NUMBERS = ("shards", "replicas", "probes", "ef")


@dataclass(frozen=True)
class MilvusAddress:
    """The address of a Milvus server, or the file of Milvus Lite. Converting it to text omits the password.

    >>> print(MilvusAddress.parse("milvus:http://root:secret@vectors.local:19530?replicas=2"))
    milvus:http://vectors.local:19530
    """

    uri: str  # http://HOST:PORT, or a path that ends in .db
    token: str = field(repr=False)  # USER:PASSWORD or an API key; empty: no authentication
    lite: bool
    method: str = "ivf_sq8"  # one of MILVUS_METHODS; of a new collection
    shards: int = 0  # of a new collection; 0: the default of the server
    replicas: int = 0  # in memory of query nodes; 0: the default of the server
    probes: int = 0  # cells that a search of IVF_SQ8 compares; 0: the default
    ef: int = 0  # candidates that a search of HNSW compares; 0: the default

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
        options = _options(parts.query)
        method = _choice(options, MILVUS_METHODS)
        numbers = {name: _number(name, options.pop(name, "0")) for name in MILVUS_NUMBERS}
        _refuse(options, MILVUS_NUMBERS)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        token = ":".join(unquote(each) for each in (parts.username, parts.password) if each)
        return cls(f"{parts.scheme}://{host}:{port}{parts.path}", token, False, method, **numbers)

    def __str__(self) -> str:
        return f"milvus:{self.uri}"


METHODS = ("auto", "hnsw", "ivfflat")
NUMBERS = ("ef_search", "probes", "build_memory")


@dataclass(frozen=True)
class PgvectorAddress:
    """A PostgreSQL database whose extension pgvector searches the vectors, and how it does so.

    >>> print(PgvectorAddress.parse("postgresql://me:secret@db.local/music?method=hnsw"))
    pgvector at postgresql://me@db.local:5432/music
    """

    database: DatabaseAddress
    method: str = "auto"  # one of METHODS; auto: chosen by the number of vectors
    ef_search: int = 0  # candidates that a search of HNSW compares; 0: the default
    probes: int = 0  # lists that a search of IVFFlat compares; 0: the default
    build_memory: int = 0  # MB with which PostgreSQL may build an index; 0: the default

    @classmethod
    def parse(cls, text: str, database: str = "") -> PgvectorAddress:
        """Parse a setting: a URL of PostgreSQL, or `pgvector` for the database of the catalogue, `database`.

        Options after a `?` are those of `DatabaseAddress`, `method`, `ef_search`, `probes` and `build_memory`.
        Raises SettingsError, whose message omits the URL because it may contain a password.
        """
        url, _, query = text.partition("?")
        options = _options(query)
        method = _choice(options, METHODS)
        numbers = {name: _number(name, options.pop(name, "0")) for name in NUMBERS}
        if url == "pgvector":
            _refuse(options, NUMBERS)
            if not database:
                raise _index_error("`pgvector` means the database of the catalogue: set `database` to postgresql://...")
            address = DatabaseAddress.parse(database)
            if address.scheme != "postgresql":
                raise _index_error("`pgvector` means the database of the catalogue, which is not PostgreSQL")
        else:
            try:
                address = DatabaseAddress.parse(f"{url}?{urlencode(options)}" if options else url)
            except SettingsError as error:
                raise _index_error(str(error).rpartition(": ")[2]) from error
        return cls(address, method, **numbers)

    def __str__(self) -> str:
        return f"pgvector at {self.database}"


IndexAddress = MilvusAddress | PgvectorAddress


def index_address(text: str, database: str = "") -> IndexAddress:
    """Parse the setting `index` of a server. `database` is the setting of this name. Raises SettingsError."""
    if text.partition("?")[0] == "pgvector" or text.startswith(("postgresql://", "postgres://")):
        return PgvectorAddress.parse(text, database)
    return MilvusAddress.parse(text)


def _options(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, strict_parsing=bool(query)))
    except ValueError as error:
        raise _index_error("its options (after the ?) cannot be read") from error


def _choice(options: dict[str, str], methods: tuple[str, ...]) -> str:
    """Remove the option `method` and return it; the first of the methods is the default."""
    method = options.pop("method", methods[0])
    if method not in methods:
        raise _index_error(f"its option method must be one of {', '.join(methods)}")
    return method


def _refuse(options: dict[str, str], numbers: tuple[str, ...]) -> None:
    if options:
        raise _index_error(f"unknown option '{min(options)}'; the options are method, {', '.join(numbers)}")


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise _index_error(f"its option {name} must be a number")
    return int(text)


def _index_error(reason: str) -> SettingsError:
    return SettingsError(
        "the setting `index` must be pgvector, postgresql://USER:PASSWORD@HOST/NAME, milvus:http://HOST:19530,"
        f" milvus:http://USER:PASSWORD@HOST:19530 or milvus:FOLDER/FILE.db: {reason}"
    )


def _database_error(reason: str) -> SettingsError:
    return SettingsError(f"the setting `database` must be {EXAMPLES}: {reason}")
