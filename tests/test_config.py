"""Settings: their sources, which source overrides which, and the messages for invalid values."""

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


def test_settings_have_defaults_without_a_file_and_environment():
    assert config.load({}) == Settings()
    assert Settings().library == Path.home() / ".local/share/songprint/library"
    assert Settings().usable_threads == min(4, config.usable_cores()) >= 1


def test_the_environment_overrides_the_file(tmp_path):
    settings = load(
        tmp_path,
        'library = "~/music-library"\nthreshold = 80\nworkers = 3',
        SONGPRINT_WORKERS="5",
        SONGPRINT_LOG_LEVEL="debug",
    )
    assert settings == Settings(library=Path.home() / "music-library", threshold=80.0, workers=5, log_level="debug")
    assert settings.with_(workers=None, threshold=10.0).threshold == 10.0
    assert settings.with_(workers=None).workers == 5


def test_processes_that_share_the_cores_use_one_thread_each_unless_set():
    assert Settings().single_threaded().usable_threads == 1
    assert Settings(threads=3).usable_threads == Settings(threads=3).single_threaded().usable_threads == 3


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("treshold = 80", r"unknown setting 'treshold' in .*did you mean 'threshold'"),
        ("colour = 1", "unknown setting 'colour' in .*the settings are library, workers"),
        ("workers = 'many'", r"workers='many' in .*config\.toml must be a whole number"),
        ("workers = 1.5", "must be a whole number"),
        ("workers = true", "must be a whole number"),
        ("library = 7", "must be a path, as text"),
        ("false_accepts = 1", "false_accepts=1.0 must lie between 0 and 1"),
        ('kinds = ["cover"]', r"kinds=\('cover',\) must be .*recording"),
        ('kinds = ["recording", "melody"]', "must be"),
        ("kinds = 3", "kinds=3 in .* must be a list of names"),
        ("threshold = 101", "threshold=101.0 must lie between 0 and 100"),
        ("workers = -1", r"workers=-1 must be 0 \(one per core\) or more"),
        ("threads = -1", r"threads=-1 must be 0 \(one per core, at most 4\) or more"),
        ("exact_limit = -5", r"exact_limit=-5 must be 0 or more \(segments\)"),
        ("tag_encoding = 'klingon'", "tag_encoding=klingon must be .*auto.*gb18030"),
        ("tag_encoding = 'base64'", "tag_encoding=base64 must be"),
        ("busy_timeout = 0", r"busy_timeout=0.0 must be positive \(seconds\)"),
        ("log_level = 'loud'", "log_level=loud must be one of debug, info"),
        ("= 5", r"the settings in .*config\.toml are not valid TOML"),
    ],
)
def test_invalid_settings_are_reported_with_their_value(tmp_path, toml, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, toml)


def test_invalid_environment_variables_are_reported_by_name():
    with pytest.raises(SettingsError, match=r"workers='two' in \$SONGPRINT_WORKERS must be a whole number"):
        config.load({"SONGPRINT_WORKERS": "two"})


def test_a_file_named_in_the_environment_must_exist(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read the settings in .*gone\.toml: No such file"):
        config.load({"SONGPRINT_CONFIG": str(tmp_path / "gone.toml")})


def test_settings_of_the_server_have_their_own_table(tmp_path):
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


def test_object_stores_can_be_set_in_the_environment_as_json():
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
        ("[server]\nallow_hosts = 5", r"must be a list of names, for example \[\"nas.lan\"\]"),
        ("[server]\nread_timeout = 0", r"read_timeout=0.0 must be positive \(seconds\)"),
        ("[server]\nrates = 5", "rates=5 in .* must be a table"),
        ("[server]\nstorages = 5", r"must be tables: write each below \[\[server.storages\]\]"),
        ("[[server.storages]]\nbucket = 'a'", "a store needs either endpoint or folder"),
        ("[[server.storages]]\nendpoint = 'ftp://a'", "must begin with https:// or http://"),
        ("[[server.storages]]\nfolder = '/a'\naddressing = 'guess'", "addressing=guess must be one of virtual, path"),
        ("[[server.storages]]\nfolder = '/a'\naccess_key = 'a'", "needs secret_key or secret_key_file"),
        ("[[server.storages]]\nfolder = '/a'\nsecret_key_file = '/no/where'", "cannot read secret_key_file=/no/where"),
    ],
)
def test_invalid_server_settings_are_reported_with_their_value(tmp_path, toml, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, toml)


def test_the_message_for_an_invalid_secret_does_not_contain_it(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "[server]\ncallback_key = 91827364")
    assert "91827364" not in str(caught.value)
