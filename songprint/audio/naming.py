"""Patterns of file names, such as `{artist}/{album}/{track} {title}`, which read tags from the path of a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from songprint.errors import SettingsError

PLACEHOLDERS = ("artist", "album", "title", "track", "year", "any")
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_EXPRESSIONS = {"track": r"(?:\d-)?(?P<track>\d{1,4})", "year": r"(?P<year>[12]\d{3})", "any": r".+?"}


@dataclass(frozen=True)
class Pattern:
    """A pattern of the end of a path, without the suffix of the file. `/` separates folders, `{any}` is ignored.

    Raises SettingsError for an invalid pattern.

    >>> Pattern("{artist}/{album}/{track} {title}").match(Path("Nina Simone/Pastel Blues/10 Sinnerman.mp3"))
    {'artist': 'Nina Simone', 'album': 'Pastel Blues', 'track': '10', 'title': 'Sinnerman'}
    """

    text: str
    _folders: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.text)
        compiled = tuple(_compiled(part) for part in self.text.split("/"))
        object.__setattr__(self, "_folders", compiled)

    def match(self, path: Path) -> dict[str, str] | None:
        """Return the values of the placeholders; None if the path does not match.

        Each placeholder takes as little as possible. Dashes of any length are equal, and underscores are spaces.
        """
        names = [*path.parts[:-1], path.stem][-len(self._folders) :]
        found: dict[str, str] = {}
        for name, folder in zip(names, self._folders, strict=False):
            match = folder.fullmatch(name.replace("_", " "))
            if match is None:
                return None
            found |= match.groupdict()
        return found if len(names) == len(self._folders) else None


def _check(text: str) -> None:
    names = _PLACEHOLDER.findall(text)
    wrong = [name for name in names if name not in PLACEHOLDERS]
    allowed = f"it may contain {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}, text, and / between folders"
    if wrong:
        problem = f"{{{wrong[0]}}} is unknown: {allowed}"
    elif "{" in (rest := _PLACEHOLDER.sub("", text)) or "}" in rest:
        problem = f"its braces do not match: {allowed}"
    elif "title" not in names:
        problem = "it needs {title}, for example {artist} - {title}"
    elif len({*names} - {"any"}) != len([name for name in names if name != "any"]):
        problem = "each placeholder except {any} may occur once"
    elif re.search(r"\{(artist|album|title|any)\}\{", text):
        problem = "it needs text between two placeholders, because the end of the first is unknown otherwise"
    elif not all(part.strip() for part in text.split("/")):
        problem = "it may not begin or end with /: it describes the end of a path"
    elif "title" not in _PLACEHOLDER.findall(text.rpartition("/")[2]):
        problem = "{title} must be in the name of the file, after the last /"
    else:
        return
    raise SettingsError(f"invalid pattern of file names '{text}': {problem}")


def _compiled(part: str) -> re.Pattern[str]:
    """The regular expression for the name of one folder, or of the file."""
    expression = ""
    for index, token in enumerate(
        _PLACEHOLDER.split(part.strip().replace("_", " "))
    ):  # text and names of placeholders in turn
        if index % 2:
            expression += _EXPRESSIONS.get(token, f"(?P<{token}>.+?)")
        else:
            expression += re.sub(r"(\\ )+", r"\\s+", re.escape(token)).replace(r"\-", "[-–—]")
    return re.compile(expression, re.IGNORECASE)
