"""Patterns of file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from songprint.audio.naming import Pattern
from songprint.errors import SettingsError


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{artist} - {title}", "x/Nina Simone - Sinnerman.mp3", {"artist": "Nina Simone", "title": "Sinnerman"}),
        ("{artist} - {title}", "Nina_Simone_–_Sinnerman.mp3", {"artist": "Nina Simone", "title": "Sinnerman"}),
        ("{artist} - {title}", "A - B - C.mp3", {"artist": "A", "title": "B - C"}),
        ("{track} - {title}", "1-03 - Sinnerman.mp3", {"track": "03", "title": "Sinnerman"}),
        ("{track}. {title}", "3. 99.mp3", {"track": "3", "title": "99"}),
        (
            "{artist}+{album}+{track}-{title}",
            "周杰伦+叶惠美+03-晴天.mp3",
            {"artist": "周杰伦", "album": "叶惠美", "track": "03", "title": "晴天"},
        ),
        (
            "{artist}/{album}/{track} {title}",
            "/m/Nina Simone/Pastel Blues/10 Sinnerman.flac",
            {"artist": "Nina Simone", "album": "Pastel Blues", "track": "10", "title": "Sinnerman"},
        ),
        (
            "{any} {year}/{track}{title} [{any}]",
            "Best of 1999/07Song [live].mp3",
            {"year": "1999", "track": "07", "title": "Song"},
        ),
        ("CD (1) {title}", "cd (1) A.mp3", {"title": "A"}),
    ],
)
def test_values_are_read_from_the_end_of_a_path(pattern, path, expected):
    assert Pattern(pattern).match(Path(path)) == expected


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{artist} - {title}", "Sinnerman.mp3"),
        ("{track} {title}", "Sinnerman.mp3"),
        ("{artist}/{title}", "Sinnerman.mp3"),
        ("{artist}/{year}/{title}", "Nina Simone/Pastel Blues/Sinnerman.mp3"),
    ],
)
def test_a_path_that_does_not_match_gives_nothing(pattern, path):
    assert Pattern(pattern).match(Path(path)) is None


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("{artst} - {title}", r"\{artst\} is unknown: it may contain \{artist\}, \{album\}, \{title\}, \{track\}, "),
        ("{} - {title}", r"\{\} is unknown"),
        ("{artist", "its braces do not match"),
        ("{artist} - {track}", r"it needs \{title\}"),
        ("{title} - {title}", "may occur once"),
        ("{artist}{title}", "text between two placeholders"),
        ("/{artist}/{title}", "may not begin or end with /"),
        ("{title}/{artist}", "after the last /"),
    ],
)
def test_an_invalid_pattern_is_explained(pattern, problem):
    with pytest.raises(SettingsError, match=problem):
        Pattern(pattern)
