"""Text as the catalogue stores it, and as it compares it in searches."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Letters that Unicode does not decompose, and how people without such a keyboard write them.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"})


def composed(text: str) -> str:
    """Return text in the form NFC, in which each letter with an accent is one character."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Return text without differences of case, accents and width: "Jóga", "JOGA" and "ｊóga" become "joga"."""
    text = text.casefold()
    if text.isascii():
        return text
    letters = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", plain.translate(_PLAIN))


def searched(title: str, artists: Iterable[str], album: str) -> str:
    """Return the text of a recording in which searches look for words."""
    return "\n".join(folded(each) for each in (title, *artists, album))
