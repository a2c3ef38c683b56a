"""Settings: where they come from, which goes first, and mistakes that are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from songprint import config
from songprint.config import Settings
from songprint.errors import SettingsError


def load(tmp_path: Path, toml: str, **environment: str) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(toml)
    return config.load({"SONGPRINT_CONFIG": str(file), **environment})


def test_without_file_and_environment_there_are_defaults():
    assert config.load({}) == Settings()
    assert Settings().library == Path.home() / ".local/share/songprint/library"
    assert Settings().usable_workers == config.usable_cores() >= 1


def test_the_environment_goes_before_the_file(tmp_path):
    settings = load(tmp_path, 'library = "~/music-library"\nthreshold = 80\nworkers = 3',
                    SONGPRINT_WORKERS="5", SONGPRINT_LOG_LEVEL="debug")
    assert settings == Settings(library=Path.home() / "music-library", threshold=80.0, workers=5,
                                log_level="debug")
    assert settings.with_(workers=None, threshold=10.0).threshold == 10.0
    assert settings.with_(workers=None).usable_workers == 5


@pytest.mark.parametrize(("toml", "message"), [
    ("treshold = 80", r"unknown setting 'treshold' in .*did you mean 'threshold'"),
    ("colour = 1", "unknown setting 'colour' in .*known are library, workers"),
    ("workers = 'many'", r"workers='many' in .*config\.toml must be a whole number"),
    ("workers = 1.5", "must be a whole number"),
    ("workers = true", "must be a whole number"),
    ("library = 7", "must be a path, as text"),
    ("false_accepts = 1", "false_accepts=1.0 must lie between 0 and 1"),
    ('kinds = ["cover"]', r"kinds=\('cover',\) must be .*recording"),
    ('kinds = ["recording", "melody"]', "must be"),
    ("kinds = 3", "kinds=3 in .* must be a list of names"),
    ("threshold = 101", "threshold=101.0 must lie between 0 and 100"),
    ("workers = -1", r"workers=-1 must be 0 \(one for each core\) or more"),
    ("threads = 0", "threads=0 must be 1 or more"),
    ("exact_limit = -5", r"exact_limit=-5 must be 0 or more \(segments\)"),
    ("busy_timeout = 0", r"busy_timeout=0.0 must be positive \(seconds\)"),
    ("log_level = 'loud'", "log_level=loud must be one of debug, info"),
    ("= 5", r"the settings in .*config\.toml are not valid TOML"),
])
def test_mistakes_are_named(tmp_path, toml, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, toml)


def test_mistakes_in_the_environment_are_named():
    with pytest.raises(SettingsError, match=r"workers='two' in \$SONGPRINT_WORKERS must be a whole number"):
        config.load({"SONGPRINT_WORKERS": "two"})


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read the settings in .*gone\.toml: No such file"):
        config.load({"SONGPRINT_CONFIG": str(tmp_path / "gone.toml")})
