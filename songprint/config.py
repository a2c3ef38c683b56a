"""Settings: one frozen value, made once at the edge from a TOML file and the environment.

Only what may change on Monday is a setting. What changes the vectors (window, hop, network) lives with the
weights of the encoder, because a library made with one value cannot be searched with another.

    $SONGPRINT_CONFIG or ~/.config/songprint/config.toml        threshold = 80
    the environment goes before the file                        SONGPRINT_THRESHOLD=80
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from songprint.errors import SettingsError
from songprint.types import Kind

KINDS = tuple(str(kind) for kind in Kind)
LOG_LEVELS = ("debug", "info", "warning", "error")


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
    workers: int = 0                # processes that decode and encode; 0: one for each usable core
    threads: int = 1                # threads of the network while identifying
    false_accepts: float = 0.01     # share of unknown clips that may be answered: 0.05, 0.01, 0.001 or 0.0001
    threshold: float | None = None  # confidence from which a match is an answer; None: the one for that share
    kinds: tuple[str, ...] = KINDS  # of match: without "cover" adding takes half the time and less room
    exact_limit: int = 200_000      # segments up to which the search is exact (about 28 hours of music)
    busy_timeout: float = 30.0      # seconds to wait while another process writes to the library
    log_level: str = "warning"

    def __post_init__(self) -> None:
        object.__setattr__(self, "library", Path(self.library).expanduser())
        self._check(self.workers >= 0, "workers", "must be 0 (one for each core) or more")
        self._check(self.threads >= 1, "threads", "must be 1 or more")
        self._check(0 < self.false_accepts < 1, "false_accepts",
                    "must lie between 0 and 1 (0.01: one of 100 clips of unknown music may be answered)")
        self._check(self.threshold is None or 0 <= self.threshold <= 100, "threshold",
                    "must lie between 0 and 100 (the confidence of an answer)")
        object.__setattr__(self, "kinds", tuple(self.kinds))
        self._check(Kind.RECORDING in self.kinds and set(self.kinds) <= set(KINDS), "kinds",
                    'must be ["recording", "cover"], or ["recording"] to do without covers')
        self._check(self.exact_limit >= 0, "exact_limit", "must be 0 or more (segments)")
        self._check(self.busy_timeout > 0, "busy_timeout", "must be positive (seconds)")
        self._check(self.log_level in LOG_LEVELS, "log_level", f"must be one of {', '.join(LOG_LEVELS)}")

    def _check(self, fine: bool, name: str, expected: str) -> None:
        if not fine:
            raise SettingsError(f"{name}={getattr(self, name)} {expected}")

    def with_(self, **changes: object) -> Settings:
        """The same settings with some values replaced; those given as None are left as they are."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    @property
    def usable_workers(self) -> int:
        """How many processes to use: the setting, or one for each core this process may run on."""
        return self.workers or usable_cores()


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file and the environment.

    A file named by $SONGPRINT_CONFIG has to exist; the one in the home folder need not.
    """
    named = environ.get("SONGPRINT_CONFIG", "")
    path = Path(named or "~/.config/songprint/config.toml").expanduser()
    values = _from_file(path) if named or path.is_file() else {}
    return Settings(**(values | _from_environment(environ)))


def usable_cores() -> int:
    """Cores this process may run on; a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _from_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read the settings in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings in {path} are not valid TOML: {error}") from error
    return {name: _value(name, value, origin=str(path)) for name, value in values.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    prefix = "SONGPRINT_"
    return {name: _value(name, environ[prefix + name.upper()], origin=f"${prefix}{name.upper()}")
            for name in _names() if environ.get(prefix + name.upper())}


def _value(name: str, value: object, *, origin: str) -> object:
    """A value as its setting wants it. Text is converted: the environment knows nothing else."""
    if name not in _names():
        near = difflib.get_close_matches(name, _names(), n=1, cutoff=0.5)
        advice = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(_names())}"
        raise SettingsError(f"unknown setting '{name}' in {origin}: {advice}")
    if name == "kinds":
        return _listed(value, origin)
    kind = {"library": Path, "log_level": str, "threshold": float, "false_accepts": float,
            "busy_timeout": float}.get(name, int)
    suits = isinstance(value, (str, int, float) if kind is float else (str, int) if kind is int else str)
    if isinstance(value, bool) or not suits:
        raise SettingsError(f"{name}={value!r} in {origin} must be {_in_words(kind)}")
    try:
        return kind(value)
    except ValueError as error:
        raise SettingsError(f"{name}={value!r} in {origin} must be {_in_words(kind)}") from error


def _listed(value: object, origin: str) -> tuple[str, ...]:
    """Kinds as a list, or parted by commas: the environment knows text alone."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise SettingsError(f'kinds={value!r} in {origin} must be a list of names, as ["recording", "cover"]')
    return tuple(word.strip() for word in words)


def _names() -> list[str]:
    return [field.name for field in fields(Settings)]


def _in_words(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", Path: "a path, as text"}[kind]
