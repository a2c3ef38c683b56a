"""Settings: an immutable value, built once at start-up from a TOML file and the environment.

Settings can be changed at any time without touching the library. Parameters that change the vectors (window, hop,
network) belong to the encoder instead, because a library cannot be searched with another encoder than its own.

    $SONGPRINT_CONFIG or ~/.config/songprint/config.toml        threshold = 80
                                                                [server]
                                                                port = 8080
    environment variables override the file                     SONGPRINT_THRESHOLD=80
                                                                SONGPRINT_SERVER_PORT=8080
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from songprint.address import DatabaseAddress, IndexAddress, index_address
from songprint.errors import SettingsError
from songprint.types import Kind

KINDS = tuple(str(kind) for kind in Kind)
# Settings that may contain passwords; error messages omit their values.
SECRETS = ("database", "index", "secret_key", "callback_key")
LOG_LEVELS = ("debug", "info", "warning", "error")
ADDRESSING = ("virtual", "path")
GIB = 1 << 30
# Default limit for the threads of a network: queries are small, and more threads do not make them faster.
MAX_THREADS = 4


@dataclass(frozen=True)
class StorageSettings:
    """An object store, selected by bucket and region: a local folder or a service with an S3 interface.

    >>> StorageSettings(bucket="music-*", folder="/srv/objects").folder
    PosixPath('/srv/objects')
    """

    bucket: str = "*"  # pattern of bucket names; * matches anything
    region: str = "*"  # pattern of region names
    folder: Path | None = None  # contains <bucket>/<object>
    endpoint: str = ""  # URL, for example https://cos.{region}.myqcloud.com; {region} is replaced
    access_key: str = ""  # SecretId or access key id; empty for public objects
    secret_key: str = field(default="", repr=False)
    secret_key_file: Path | None = None
    addressing: str = "virtual"  # "virtual": the bucket is part of the host name; "path": part of the path

    def __post_init__(self) -> None:
        for name in ("folder", "secret_key_file"):
            _expand(self, name)
        _check(
            self,
            bool(self.folder) != bool(self.endpoint),
            "endpoint",
            "is invalid: a store needs either endpoint or folder, and not both",
        )
        _check(
            self,
            not self.endpoint or self.endpoint.startswith(("https://", "http://")),
            "endpoint",
            "must begin with https:// or http://",
        )
        _check(self, self.addressing in ADDRESSING, "addressing", f"must be one of {', '.join(ADDRESSING)}")
        _read_secret(self, "secret_key")
        _check(
            self,
            bool(self.access_key) == bool(self.secret_key),
            "access_key",
            "needs secret_key or secret_key_file, and vice versa",
        )


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the service: where it listens, which hosts it may contact, and its limits.

    Lists of hosts contain names (`nas.lan`, `*.lan`), addresses or networks (`192.168.0.0/16`), each optionally
    with a port (`nas.lan:8000`). Sizes are in bytes, durations and time limits in seconds.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    names: tuple[str, ...] = ()  # host names used by clients, if a proxy is in front of the service
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-* headers are trusted

    allow_hosts: tuple[str, ...] = ()  # private hosts from which inputs may be fetched
    allow_callbacks: tuple[str, ...] = ()  # private hosts to which callbacks may be sent
    allow_private: bool = False  # allow any private host, for tests on one machine
    input_ports: tuple[int, ...] = (80, 443)  # allowed ports of public hosts
    max_bytes: int = 4 * GIB  # of one input
    max_duration: float = 24 * 3600.0  # of one input
    fetch_timeout: float = 3600.0  # for a whole input
    read_timeout: float = 30.0  # without any data
    callback_timeout: float = 10.0  # for one callback
    callback_key: str = field(default="", repr=False)  # signs callbacks of jobs without a secret
    callback_key_file: Path | None = None

    storages: tuple[StorageSettings, ...] = ()  # the first one that matches the bucket is used

    app_id: int = 1300000000  # account number at the start of Tencent task ids
    clock_skew: float = 300.0  # by which a signed request may be early or late
    max_waiting: int = 10_000  # waiting jobs; more are refused
    rates: Mapping[str, float] = field(default_factory=dict)  # requests per second and key, by Tencent action

    header_timeout: float = 20.0  # for the headers of a request
    body_timeout: float = 30.0  # for which the body of a request may pause
    idle_timeout: float = 60.0  # for the next request on a connection
    min_upload_rate: float = 1000.0  # bytes per second that a body must reach on average
    max_connections: int = 1000  # open connections
    max_connections_per_address: int = 128  # open connections of one client; trusted proxies have no such limit
    rate: float = 50.0  # requests per second to the REST API for keys without their own rate
    max_clip_bytes: int = 64 << 20  # of a clip for immediate identification
    max_clip_duration: float = 120.0  # of a clip for immediate identification
    max_recording_bytes: int = GIB  # of an upload that is added to the library
    max_recording_duration: float = 2 * 3600.0  # of an upload that is added to the library
    clip_processes: int = 0  # processes that identify clips; 0: one per usable core, at most 8
    clip_timeout: float = 60.0  # for identifying one clip
    max_clips_waiting: int = 64  # queued clips; more are refused with a request to retry later
    job_processes: int = 1  # workers that `songprint serve` starts; 0: none
    job_timeout: float = 6 * 3600.0  # for scanning the input of one job
    keep_inputs: float = 24 * 3600.0  # how long the input of a finished job is kept for listening

    def __post_init__(self) -> None:
        _expand(self, "callback_key_file")
        for name in ("names", "trusted_proxies", "allow_hosts", "allow_callbacks", "input_ports", "storages"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check(self, bool(self.host), "host", "must be an address to listen on, for example 127.0.0.1")
        _check(self, 0 <= self.port < 65536, "port", "must lie between 0 (any free port) and 65535")
        _check(self, all(0 < port < 65536 for port in self.input_ports), "input_ports", "must lie between 1 and 65535")
        for name in (
            "max_bytes",
            "max_clip_bytes",
            "max_recording_bytes",
            "app_id",
            "max_waiting",
            "max_clips_waiting",
            "max_connections",
            "max_connections_per_address",
        ):
            _check(self, getattr(self, name) > 0, name, "must be 1 or more")
        for name in ("clip_processes", "job_processes"):
            _check(self, getattr(self, name) >= 0, name, "must be 0 or more")
        for name in (
            "max_duration",
            "fetch_timeout",
            "read_timeout",
            "callback_timeout",
            "clock_skew",
            "max_clip_duration",
            "max_recording_duration",
            "clip_timeout",
            "header_timeout",
            "body_timeout",
            "idle_timeout",
            "job_timeout",
        ):
            _check(self, getattr(self, name) > 0, name, "must be positive (seconds)")
        _check(self, self.keep_inputs >= 0, "keep_inputs", "must be 0 (delete immediately) or more (seconds)")
        _check(self, self.min_upload_rate > 0, "min_upload_rate", "must be positive (bytes per second)")
        _check(self, self.rate > 0, "rate", "must be positive (requests per second)")
        _check(self, all(rate > 0 for rate in self.rates.values()), "rates", "must be positive (requests per second)")
        _read_secret(self, "callback_key")


@dataclass(frozen=True)
class Settings:
    """Settings of this machine. Every setting has a default.

    >>> Settings(workers=2).workers
    2
    >>> Settings(threshold=120)
    Traceback (most recent call last):
    songprint.errors.SettingsError: threshold=120 must lie between 0 and 100 (the lowest confidence that is reported)
    """

    library: Path = Path("~/.local/share/songprint/library")
    workers: int = 0  # processes that decode and encode; 0: one per usable core
    threads: int = 0  # threads of the networks during identification; 0: one per usable core, at most 4
    # Fraction of queries of unknown music that may get a match: 0.05, 0.01, 0.001 or 0.0001.
    false_accepts: float = 0.01
    threshold: float | None = None  # lowest confidence that is reported; None: follows from false_accepts
    kinds: tuple[str, ...] = KINDS  # kinds of match; without "cover", adding takes half the time and less space
    exact_limit: int = 200_000  # segments up to which the search is exact (about 28 hours of music)
    shortest_segment: float = 3.0  # seconds; shorter segments are left out of timelines
    # Bytes that decoding and identifying one input may allocate in a child process, in addition to the open library;
    # 0: any number. Inputs that need more are refused. Linux only.
    memory_limit: int = 3 * GIB // 2
    # Encoding of tags that contain none, where it can decode all tags of a file; "auto": detected for each file.
    tag_encoding: str = "auto"
    name_pattern: str = ""  # reads what tags lack from the path of a file, see `songprint.audio.naming`; empty: a guess
    busy_timeout: float = 30.0  # seconds to wait while another process writes to the library
    log_level: str = "warning"
    # URL of the catalogue; empty for a SQLite file in the library folder. It may contain a password.
    database: str = field(default="", repr=False)
    # Engine of the vector index: empty for the library folder, else the address of Milvus or of PostgreSQL with
    # pgvector; `pgvector`: the database of the catalogue. It may contain a password.
    index: str = field(default="", repr=False)
    server: ServerSettings = field(default_factory=ServerSettings)

    def __post_init__(self) -> None:
        _expand(self, "library")
        _check(self, self.workers >= 0, "workers", "must be 0 (one per core) or more")
        _check(self, self.threads >= 0, "threads", "must be 0 (one per core, at most 4) or more")
        _check(
            self,
            0 < self.false_accepts < 1,
            "false_accepts",
            "must lie between 0 and 1 (0.01: one of 100 queries of unknown music may get a match)",
        )
        _check(
            self,
            self.threshold is None or 0 <= self.threshold <= 100,
            "threshold",
            "must lie between 0 and 100 (the lowest confidence that is reported)",
        )
        object.__setattr__(self, "kinds", tuple(self.kinds))
        _check(
            self,
            Kind.RECORDING in self.kinds and set(self.kinds) <= set(KINDS),
            "kinds",
            'must be ["recording", "cover"], or ["recording"] to skip covers',
        )
        _check(self, self.exact_limit >= 0, "exact_limit", "must be 0 or more (segments)")
        _check(self, self.shortest_segment >= 0, "shortest_segment", "must be 0 or more (seconds)")
        _check(self, self.memory_limit >= 0, "memory_limit", "must be 0 (no limit) or more (bytes)")
        _check(
            self,
            self.tag_encoding == "auto" or _is_encoding(self.tag_encoding),
            "tag_encoding",
            'must be "auto" or an encoding, for example gb18030, big5, cp932 or cp1251',
        )
        _check(self, self.busy_timeout > 0, "busy_timeout", "must be positive (seconds)")
        if self.database:
            DatabaseAddress.parse(self.database)  # raises SettingsError for an invalid URL
        if self.index:
            index_address(self.index, self.database)
        _check(self, self.log_level in LOG_LEVELS, "log_level", f"must be one of {', '.join(LOG_LEVELS)}")

    def with_(self, **changes: Any) -> Settings:
        """Return a copy with some settings replaced. Changes that are None are ignored."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    @property
    def index_address(self) -> IndexAddress | None:
        """The server of the index; None for the index in the library folder."""
        return index_address(self.index, self.database) if self.index else None

    @property
    def usable_threads(self) -> int:
        """Number of threads of a network: the setting, or one per usable core up to MAX_THREADS."""
        return self.threads or min(usable_cores(), MAX_THREADS)

    def single_threaded(self) -> Settings:
        """Return a copy for one of several processes that share the cores: one thread, unless the setting is given."""
        return replace(self, threads=self.threads or 1)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Load settings from the file and the environment.

    The file named by $SONGPRINT_CONFIG must exist; the default file is optional. Raises SettingsError.
    """
    named = environ.get("SONGPRINT_CONFIG", "")
    path = Path(named or "~/.config/songprint/config.toml").expanduser()
    written = _from_file(path) if named or path.is_file() else {}
    server = written.pop("server", {})
    if not isinstance(server, dict):
        raise SettingsError(f"server={server!r} in {path} must be a table: write its settings below [server]")
    values = _values(Settings, written, str(path)) | _from_environment(Settings, environ, "SONGPRINT_")
    server_values = _values(ServerSettings, server, f"[server] in {path}") | _from_environment(
        ServerSettings, environ, "SONGPRINT_SERVER_"
    )
    return Settings(**values, server=ServerSettings(**server_values))


def usable_cores() -> int:
    """Number of cores on which this process may run; in a container often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(settings: object, valid: bool, name: str, expected: str) -> None:
    if not valid:
        raise SettingsError(f"{name}={getattr(settings, name)} {expected}")


def _is_encoding(name: str) -> bool:
    try:
        return isinstance(b"a".decode(name, "replace"), str)
    except (LookupError, ValueError):  # ValueError: a name with NUL
        return False


def _expand(settings: object, name: str) -> None:
    if getattr(settings, name) is not None:
        object.__setattr__(settings, name, Path(getattr(settings, name)).expanduser())


def _read_secret(settings: object, name: str) -> None:
    """Read a secret from the file `<name>_file`, which can be readable for the service alone."""
    file = getattr(settings, f"{name}_file")
    if file is None:
        return
    if getattr(settings, name):
        raise SettingsError(f"{name} and {name}_file={file} are both given: remove one of them")
    try:
        object.__setattr__(settings, name, file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {name}_file={file}: {getattr(error, 'strerror', None) or error}") from error
    object.__setattr__(settings, f"{name}_file", None)  # `replace` would read it again and find two values


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read the settings in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings in {path} are not valid TOML: {error}") from error


def _from_environment(kind: type, environ: Mapping[str, str], prefix: str) -> dict[str, Any]:
    return {
        name: _value(kind, name, environ[prefix + name.upper()], origin=f"${prefix}{name.upper()}")
        for name in _types(kind)
        if environ.get(prefix + name.upper())
    }


def _values(kind: type, written: dict[str, Any], origin: str) -> dict[str, Any]:
    return {name: _value(kind, name, value, origin=origin) for name, value in written.items()}


def _value(kind: type, name: str, value: object, *, origin: str) -> object:
    """Convert a value to the type of its setting. Text is parsed, because the environment contains only text."""
    types = _types(kind)
    if name not in types:
        near = difflib.get_close_matches(name, types, n=1, cutoff=0.5)
        advice = f"did you mean '{near[0]}'?" if near else f"the settings are {', '.join(types)}"
        raise SettingsError(f"unknown setting '{name}' in {origin}: {advice}")
    type_name = types[name]
    if type_name.startswith(("tuple[Storage", "Mapping")):
        return _tables(name, value, origin)
    if type_name.startswith("tuple"):
        return _list(name, value, int if "int" in type_name else str, origin)
    wanted = next(wanted for prefix, wanted in _CONVERTERS.items() if type_name.startswith(prefix))
    return _single(name, value, wanted, origin)


def _single(name: str, value: object, wanted: type, origin: str) -> object:
    if wanted is bool and isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    accepted = {bool: bool, float: str | int | float, int: str | int}.get(wanted, str)
    if not isinstance(value, accepted) or isinstance(value, bool) != (wanted is bool):
        shown = f"{name}={value!r}" if name not in SECRETS else name
        raise SettingsError(f"{shown} in {origin} must be {_DESCRIPTIONS[wanted]}")
    try:
        return wanted(value)
    except ValueError as error:
        raise SettingsError(f"{name}={value!r} in {origin} must be {_DESCRIPTIONS[wanted]}") from error


def _list(name: str, value: object, wanted: type, origin: str) -> tuple[object, ...]:
    """Convert a list, or text separated by commas from the environment."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or (wanted is str and not all(isinstance(word, str) for word in words)):
        example = '["recording", "cover"]' if name == "kinds" else "[80, 443]" if wanted is int else '["nas.lan"]'
        items = "numbers" if wanted is int else "names"
        raise SettingsError(f"{name}={value!r} in {origin} must be a list of {items}, for example {example}")
    return tuple(_single(name, word.strip() if isinstance(word, str) else word, wanted, origin) for word in words)


def _tables(name: str, value: object, origin: str) -> object:
    """Convert a setting that consists of tables; the environment contains it as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise SettingsError(f"{name} in {origin} must be JSON: {error}") from error
    if name == "rates":
        if not isinstance(value, dict):
            raise SettingsError(f"{name}={value!r} in {origin} must be a table, for example {{ ProcessMedia = 100 }}")
        return {action: _single(action, rate, float, origin) for action, rate in value.items()}
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        # The message omits the value, which may contain keys.
        raise SettingsError(f"{name} in {origin} must be tables: write each below [[server.{name}]]")
    return tuple(StorageSettings(**_values(StorageSettings, each, f"{name} of {origin}")) for each in value)


def _types(kind: type) -> dict[str, str]:
    """Names and types of the settings, as written in the class."""
    return {each.name: str(each.type) for each in fields(kind) if each.name != "server"}


_CONVERTERS = {"int": int, "float": float, "bool": bool, "Path": Path, "str": str}
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_DESCRIPTIONS = {int: "a whole number", float: "a number", str: "text", Path: "a path, as text", bool: "true or false"}
