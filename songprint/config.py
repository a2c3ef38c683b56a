"""Settings: one frozen value, made once at the edge from a TOML file and the environment.

Only what may change on Monday is a setting. What changes the vectors (window, hop, network) lives with the
weights of the encoder, because a library made with one value cannot be searched with another.

    $SONGPRINT_CONFIG or ~/.config/songprint/config.toml        threshold = 80
                                                                [server]
                                                                port = 8080
    the environment goes before the file                        SONGPRINT_THRESHOLD=80
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

from songprint.address import DatabaseAddress, MilvusAddress
from songprint.errors import SettingsError
from songprint.types import Kind

KINDS = tuple(str(kind) for kind in Kind)
SECRET = ("database", "index", "secret_key", "callback_key")  # may hold passwords: never shown
LOG_LEVELS = ("debug", "info", "warning", "error")
ADDRESSING = ("virtual", "path")
GIB = 1 << 30
MOST_THREADS = 4  # of a network, unless told otherwise: a clip is not much work


@dataclass(frozen=True)
class StorageSettings:
    """One object store: buckets by name and region, in a folder of this machine or behind an S3 interface.

    >>> StorageSettings(bucket="music-*", folder="/srv/objects").folder
    PosixPath('/srv/objects')
    """

    bucket: str = "*"  # names of buckets; * stands for anything
    region: str = "*"
    folder: Path | None = None  # holds <bucket>/<object>
    endpoint: str = ""  # https://cos.{region}.myqcloud.com; {region} is replaced
    access_key: str = ""  # of the store: SecretId, access key id; empty: objects are public
    secret_key: str = field(default="", repr=False)
    secret_key_file: Path | None = None
    addressing: str = "virtual"  # the bucket is a part of the host name, or the first one of the "path"

    def __post_init__(self) -> None:
        for name in ("folder", "secret_key_file"):
            _expand(self, name)
        _check(
            self,
            bool(self.folder) != bool(self.endpoint),
            "endpoint",
            "is one way and folder the other: a store needs one of them",
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
            "needs secret_key or secret_key_file, and the other way round",
        )


@dataclass(frozen=True)
class ServerSettings:
    """What the service needs besides: where it listens, what it may fetch and call, what it refuses.

    A host in a list is a name (`nas.lan`, `*.lan`), an address or a network (`192.168.0.0/16`), each with a
    port if only that one is meant (`nas.lan:8000`).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    names: tuple[str, ...] = ()  # by which clients call this server, when a proxy stands before it
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-* headers are believed

    allow_hosts: tuple[str, ...] = ()  # private hosts that inputs may be fetched from
    allow_callbacks: tuple[str, ...] = ()  # private hosts that callbacks may be sent to
    allow_private: bool = False  # anything goes: for trying things out on one machine
    input_ports: tuple[int, ...] = (80, 443)
    max_bytes: int = 4 * GIB  # of one input
    max_duration: float = 24 * 3600.0  # seconds of one input
    fetch_timeout: float = 3600.0  # seconds for one whole input
    read_timeout: float = 30.0  # seconds without a byte
    callback_timeout: float = 10.0  # seconds for one call
    callback_key: str = field(default="", repr=False)  # signs callbacks for which the client names no key
    callback_key_file: Path | None = None

    storages: tuple[StorageSettings, ...] = ()  # the first that fits a bucket is taken

    app_id: int = 1300000000  # account number at the head of Tencent's task ids
    clock_skew: float = 300.0  # seconds that a signed request may be early or late
    max_waiting: int = 10_000  # jobs in the queue; more are refused
    rates: Mapping[str, float] = field(default_factory=dict)  # requests a second and key, by Tencent's action

    rate: float = 50.0  # requests a second of the REST API, of a key that has no rate of its own
    max_clip_bytes: int = 64 << 20  # of a clip that is named at once
    max_clip_duration: float = 120.0  # seconds of such a clip
    max_recording_bytes: int = GIB  # of a recording that is added
    clip_processes: int = 0  # that name clips; 0: one for each usable core, at most 8
    clip_timeout: float = 60.0  # seconds that naming one clip may take
    max_clips_waiting: int = 64  # clips in the line; more are told to come again
    job_processes: int = 1  # workers that `songprint serve` starts for jobs; 0: only `songprint worker`
    keep_inputs: float = 24 * 3600.0  # seconds that the input of a job is kept for listening after its end

    def __post_init__(self) -> None:
        _expand(self, "callback_key_file")
        for name in ("names", "trusted_proxies", "allow_hosts", "allow_callbacks", "input_ports", "storages"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check(self, bool(self.host), "host", "must be an address to listen on, as 127.0.0.1")
        _check(self, 0 <= self.port < 65536, "port", "must lie between 0 (any free one) and 65535")
        _check(self, all(0 < port < 65536 for port in self.input_ports), "input_ports", "must lie between 1 and 65535")
        for name in (
            "max_bytes",
            "max_clip_bytes",
            "max_recording_bytes",
            "app_id",
            "max_waiting",
            "max_clips_waiting",
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
            "clip_timeout",
        ):
            _check(self, getattr(self, name) > 0, name, "must be positive (seconds)")
        _check(self, self.keep_inputs >= 0, "keep_inputs", "must be 0 (delete at once) or more (seconds)")
        _check(self, self.rate > 0, "rate", "must be positive (requests a second)")
        _check(self, all(rate > 0 for rate in self.rates.values()), "rates", "must be positive (requests a second)")
        _read_secret(self, "callback_key")


@dataclass(frozen=True)
class Settings:
    """How this machine runs Songprint; every value has a default.

    >>> Settings(workers=2).workers
    2
    >>> Settings(threshold=120)
    Traceback (most recent call last):
    songprint.errors.SettingsError: threshold=120 must lie between 0 and 100 (the confidence of an answer)
    """

    library: Path = Path("~/.local/share/songprint/library")
    workers: int = 0  # processes that decode and encode; 0: one for each usable core
    threads: int = 0  # of the networks while identifying; 0: one for each usable core, at most 4
    false_accepts: float = 0.01  # share of unknown clips that may be answered: 0.05, 0.01, 0.001 or 0.0001
    threshold: float | None = None  # confidence from which a match is an answer; None: the one for that share
    kinds: tuple[str, ...] = KINDS  # of match: without "cover" adding takes half the time and less room
    exact_limit: int = 200_000  # segments up to which the search is exact (about 28 hours of music)
    shortest_segment: float = 3.0  # seconds: of a long recording shorter bits of songs are not told
    busy_timeout: float = 30.0  # seconds to wait while another process writes to the library
    log_level: str = "warning"
    # Where the catalogue is kept: empty for a SQLite file in the library folder. It may hold a password.
    database: str = field(default="", repr=False)
    index: str = field(default="", repr=False)  # empty: in the library folder; else where Milvus is
    server: ServerSettings = field(default_factory=ServerSettings)

    def __post_init__(self) -> None:
        _expand(self, "library")
        _check(self, self.workers >= 0, "workers", "must be 0 (one for each core) or more")
        _check(self, self.threads >= 0, "threads", "must be 0 (one for each core, at most 4) or more")
        _check(
            self,
            0 < self.false_accepts < 1,
            "false_accepts",
            "must lie between 0 and 1 (0.01: one of 100 clips of unknown music may be answered)",
        )
        _check(
            self,
            self.threshold is None or 0 <= self.threshold <= 100,
            "threshold",
            "must lie between 0 and 100 (the confidence of an answer)",
        )
        object.__setattr__(self, "kinds", tuple(self.kinds))
        _check(
            self,
            Kind.RECORDING in self.kinds and set(self.kinds) <= set(KINDS),
            "kinds",
            'must be ["recording", "cover"], or ["recording"] to do without covers',
        )
        _check(self, self.exact_limit >= 0, "exact_limit", "must be 0 or more (segments)")
        _check(self, self.shortest_segment >= 0, "shortest_segment", "must be 0 or more (seconds)")
        _check(self, self.busy_timeout > 0, "busy_timeout", "must be positive (seconds)")
        if self.database:
            DatabaseAddress.parse(self.database)  # says what is wrong with it
        if self.index:
            MilvusAddress.parse(self.index)
        _check(self, self.log_level in LOG_LEVELS, "log_level", f"must be one of {', '.join(LOG_LEVELS)}")

    def with_(self, **changes: object) -> Settings:
        """The same settings with some values replaced; those given as None are left as they are."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    @property
    def usable_threads(self) -> int:
        """How many threads a network computes in: the setting, or one for each core this process may run on."""
        return self.threads or min(usable_cores(), MOST_THREADS)

    def beside_others(self) -> Settings:
        """The same for one of several processes, which share the cores: unless told otherwise it takes one."""
        return replace(self, threads=self.threads or 1)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file and the environment.

    A file named by $SONGPRINT_CONFIG has to exist; the one in the home folder need not.
    """
    named = environ.get("SONGPRINT_CONFIG", "")
    path = Path(named or "~/.config/songprint/config.toml").expanduser()
    written = _from_file(path) if named or path.is_file() else {}
    server = written.pop("server", {})
    if not isinstance(server, dict):
        raise SettingsError(f"server={server!r} in {path} must be a table: write its settings below [server]")
    values = _values(Settings, written, str(path)) | _from_environment(Settings, environ, "SONGPRINT_")
    of_server = _values(ServerSettings, server, f"[server] in {path}") | _from_environment(
        ServerSettings, environ, "SONGPRINT_SERVER_"
    )
    return Settings(**values, server=ServerSettings(**of_server))


def usable_cores() -> int:
    """Cores this process may run on; a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(settings: object, fine: bool, name: str, expected: str) -> None:
    if not fine:
        raise SettingsError(f"{name}={getattr(settings, name)} {expected}")


def _expand(settings: object, name: str) -> None:
    if getattr(settings, name) is not None:
        object.__setattr__(settings, name, Path(getattr(settings, name)).expanduser())


def _read_secret(settings: object, name: str) -> None:
    """A secret may stand in a file of its own, which only the service can read."""
    file = getattr(settings, f"{name}_file")
    if file is None:
        return
    if getattr(settings, name):
        raise SettingsError(f"{name} and {name}_file={file} are both given: keep one of them")
    try:
        object.__setattr__(settings, name, file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {name}_file={file}: {getattr(error, 'strerror', None) or error}") from error
    object.__setattr__(settings, f"{name}_file", None)  # read: the value may be copied with other changes


def _from_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read the settings in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings in {path} are not valid TOML: {error}") from error


def _from_environment(kind: type, environ: Mapping[str, str], prefix: str) -> dict[str, object]:
    return {
        name: _value(kind, name, environ[prefix + name.upper()], origin=f"${prefix}{name.upper()}")
        for name in _forms(kind)
        if environ.get(prefix + name.upper())
    }


def _values(kind: type, written: dict[str, object], origin: str) -> dict[str, object]:
    return {name: _value(kind, name, value, origin=origin) for name, value in written.items()}


def _value(kind: type, name: str, value: object, *, origin: str) -> object:
    """A value as its setting wants it. Text is converted: the environment knows nothing else."""
    forms = _forms(kind)
    if name not in forms:
        near = difflib.get_close_matches(name, forms, n=1, cutoff=0.5)
        advice = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(forms)}"
        raise SettingsError(f"unknown setting '{name}' in {origin}: {advice}")
    form = forms[name]
    if form.startswith(("tuple[Storage", "Mapping")):
        return _tables(name, value, origin)
    if form.startswith("tuple"):
        return _listed(name, value, int if "int" in form else str, origin)
    wanted = next(wanted for word, wanted in _FORMS.items() if form.startswith(word))
    return _single(name, value, wanted, origin)


def _single(name: str, value: object, wanted: type, origin: str) -> object:
    if wanted is bool and isinstance(value, str) and value.lower() in _SAID:
        return _SAID[value.lower()]
    suits = {bool: bool, float: str | int | float, int: str | int}.get(wanted, str)
    if not isinstance(value, suits) or isinstance(value, bool) != (wanted is bool):
        shown = f"{name}={value!r}" if name not in SECRET else name
        raise SettingsError(f"{shown} in {origin} must be {_IN_WORDS[wanted]}")
    try:
        return wanted(value)
    except ValueError as error:
        raise SettingsError(f"{name}={value!r} in {origin} must be {_IN_WORDS[wanted]}") from error


def _listed(name: str, value: object, wanted: type, origin: str) -> tuple[object, ...]:
    """A list, or words parted by commas: the environment knows text alone."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or (wanted is str and not all(isinstance(word, str) for word in words)):
        example = '["recording", "cover"]' if name == "kinds" else "[80, 443]" if wanted is int else '["nas.lan"]'
        raise SettingsError(
            f"{name}={value!r} in {origin} must be a list of {'numbers' if wanted is int else 'names'}, as {example}"
        )
    return tuple(_single(name, word.strip() if isinstance(word, str) else word, wanted, origin) for word in words)


def _tables(name: str, value: object, origin: str) -> object:
    """Settings that are tables themselves; the environment gives them as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise SettingsError(f"{name} in {origin} must be JSON: {error}") from error
    if name == "rates":
        if not isinstance(value, dict):
            raise SettingsError(f"{name}={value!r} in {origin} must be a table, as {{ ProcessMedia = 100 }}")
        return {action: _single(action, rate, float, origin) for action, rate in value.items()}
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise SettingsError(f"{name} in {origin} must be tables: write each below [[server.{name}]]")  # no value: keys
    return tuple(StorageSettings(**_values(StorageSettings, each, f"{name} of {origin}")) for each in value)


def _forms(kind: type) -> dict[str, str]:
    """Names of settings and what they are, as written in the class."""
    return {each.name: str(each.type) for each in fields(kind) if each.name != "server"}


_FORMS = {"int": int, "float": float, "bool": bool, "Path": Path, "str": str}
_SAID = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_IN_WORDS = {int: "a whole number", float: "a number", str: "text", Path: "a path, as text", bool: "true or false"}
