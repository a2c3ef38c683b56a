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
    assert Settings().usable_threads == min(4, config.usable_cores()) >= 1


def test_the_environment_goes_before_the_file(tmp_path):
    settings = load(
        tmp_path,
        'library = "~/music-library"\nthreshold = 80\nworkers = 3',
        SONGPRINT_WORKERS="5",
        SONGPRINT_LOG_LEVEL="debug",
    )
    assert settings == Settings(library=Path.home() / "music-library", threshold=80.0, workers=5, log_level="debug")
    assert settings.with_(workers=None, threshold=10.0).threshold == 10.0
    assert settings.with_(workers=None).workers == 5


def test_processes_that_share_the_cores_take_one_each():
    assert Settings().beside_others().usable_threads == 1
    assert Settings(threads=3).usable_threads == Settings(threads=3).beside_others().usable_threads == 3


@pytest.mark.parametrize(
    ("toml", "message"),
    [
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
        ("threads = -1", r"threads=-1 must be 0 \(one for each core, at most 4\) or more"),
        ("exact_limit = -5", r"exact_limit=-5 must be 0 or more \(segments\)"),
        ("busy_timeout = 0", r"busy_timeout=0.0 must be positive \(seconds\)"),
        ("log_level = 'loud'", "log_level=loud must be one of debug, info"),
        ("= 5", r"the settings in .*config\.toml are not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, toml, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, toml)


def test_mistakes_in_the_environment_are_named():
    with pytest.raises(SettingsError, match=r"workers='two' in \$SONGPRINT_WORKERS must be a whole number"):
        config.load({"SONGPRINT_WORKERS": "two"})


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read the settings in .*gone\.toml: No such file"):
        config.load({"SONGPRINT_CONFIG": str(tmp_path / "gone.toml")})


def test_the_server_has_a_table_of_its_own(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t\n")
    settings = load(
        tmp_path,
        f"""
        threads = 2
        [server]
        port = 9000
        allow_hosts = ["nas.lan", "10.0.0.0/8"]
        callback_key_file = "{secret}"
        rates = {{ ProcessMedia = 5 }}
        [[server.storages]]
        bucket = "music-*"
        folder = "~/objects"
        [[server.storages]]
        endpoint = "https://cos.{{region}}.myqcloud.com"
        access_key = "AKID"
        secret_key_file = "{secret}"
        """,
        SONGPRINT_SERVER_PORT="9001",
        SONGPRINT_SERVER_INPUT_PORTS="80, 443,8000",
        SONGPRINT_SERVER_ALLOW_PRIVATE="yes",
    ).server
    assert (settings.port, settings.input_ports, settings.allow_private) == (9001, (80, 443, 8000), True)
    assert settings.allow_hosts == ("nas.lan", "10.0.0.0/8")
    assert settings.rates == {"ProcessMedia": 5.0}
    assert settings.storages[0].folder == Path.home() / "objects"
    assert (settings.callback_key, settings.storages[1].secret_key) == ("s3cr3t", "s3cr3t")
    assert "s3cr3t" not in repr(settings)


def test_stores_may_come_from_the_environment_as_json():
    stores = config.load({"SONGPRINT_SERVER_STORAGES": '[{"folder": "/srv"}]'}).server.storages
    assert [store.folder for store in stores] == [Path("/srv")]


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("server = 5", r"server=5 in .* must be a table: write its settings below \[server\]"),
        ("[server]\nprot = 1", r"unknown setting 'prot' in \[server\] in .*did you mean 'port'"),
        ("[server]\nport = 70000", "port=70000 must lie between 0"),
        ("[server]\nallow_private = 'perhaps'", "allow_private='perhaps' in .* must be true or false"),
        ("[server]\nallow_private = 1", "must be true or false"),
        ("[server]\ninput_ports = ['http']", "input_ports='http' in .* must be a whole number"),
        ("[server]\nallow_hosts = 5", r"must be a list of names, as \[\"nas.lan\"\]"),
        ("[server]\nread_timeout = 0", r"read_timeout=0.0 must be positive \(seconds\)"),
        ("[server]\nrates = 5", "rates=5 in .* must be a table"),
        ("[server]\nstorages = 5", r"must be tables: write each below \[\[server.storages\]\]"),
        ("[[server.storages]]\nbucket = 'a'", "a store needs one of them"),
        ("[[server.storages]]\nendpoint = 'ftp://a'", "must begin with https:// or http://"),
        ("[[server.storages]]\nfolder = '/a'\naddressing = 'guess'", "addressing=guess must be one of virtual, path"),
        ("[[server.storages]]\nfolder = '/a'\naccess_key = 'a'", "needs secret_key or secret_key_file"),
        ("[[server.storages]]\nfolder = '/a'\nsecret_key_file = '/no/where'", "cannot read secret_key_file=/no/where"),
    ],
)
def test_mistakes_in_the_table_of_the_server_are_named(tmp_path, toml, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, toml)


def test_a_secret_of_the_wrong_form_is_not_shown(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "[server]\ncallback_key = 91827364")
    assert "91827364" not in str(caught.value)
