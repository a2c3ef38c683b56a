"""Object storage: folders and S3 interfaces, and names that would lead elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import web
from support.web import PUBLIC, Web

from songprint.config import ServerSettings, StorageSettings
from songprint.errors import FetchError
from songprint.outside.fetch import Rules
from songprint.outside.storage import Credentials, Storage, is_bucket, object_url, signed

SONG = bytes(range(256)) * 20
OF_AWS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MAY_2013 = datetime(2013, 5, 24, tzinfo=UTC)


def at(name: str, bucket: str = "music-1", region: str = "ap-guangzhou", **more: str) -> dict[str, str]:
    return {"type": "cos", "bucket": bucket, "region": region, "object": name, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bucket `music-1` with a song, and a secret outside of it."""
    song = tmp_path / "objects" / "music-1" / "a" / "song.mp3"
    song.parent.mkdir(parents=True)
    song.write_bytes(SONG)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "objects" / "secret").write_bytes(b"secret")
    return tmp_path / "objects"


@pytest.fixture
def folders(folder: Path) -> Storage:
    return Storage(ServerSettings(storages=(StorageSettings(folder=folder),), max_bytes=10_000))


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with web.running(monkeypatch) as net:
        yield net


def refused(call) -> FetchError:
    with pytest.raises(FetchError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("name", ["a/song.mp3", "/a/song.mp3"])
def test_an_object_in_a_folder_is_copied(folders, tmp_path, name):
    progress = []
    folders.read(at(name), tmp_path / "input", on_progress=lambda *bytes_: progress.append(bytes_))
    assert (tmp_path / "input").read_bytes() == SONG
    assert progress[-1] == (len(SONG), len(SONG))


def test_objects_are_written_atomically(folders, folder):
    folders.write(at(""), "/common/test/task.json", b"{}")
    folders.write(at(""), "common/test/task.json", b"[1]")
    assert (folder / "music-1" / "common" / "test" / "task.json").read_bytes() == b"[1]"
    assert len(list((folder / "music-1" / "common" / "test").iterdir())) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "../../secret",
        "a/../../../secret",
        "a/./song.mp3",
        "..",
        ".",
        "",
        "/",
        "a//song.mp3",
        "..\\secret",
        "a\0",
        "a\nb",
        "a" * 2000,
        "\udcff",
        "//../secret",
        "a/..",
    ],
)
def test_no_object_name_leads_out_of_its_bucket(folders, tmp_path, name):
    assert refused(lambda: folders.read(at(name), tmp_path / "input")).code == "input_refused"
    assert refused(lambda: folders.write(at(""), name, b"")).code == "input_refused"
    assert not (tmp_path / "input").exists()


@pytest.mark.parametrize(
    "bucket", ["..", ".", "", "../objects", "music-1/a", "/etc", "a..b", "A", "a_b", "-a", "a" * 64]
)
def test_invalid_bucket_names_are_refused(folders, tmp_path, bucket):
    assert not is_bucket(bucket)
    assert not folders.has_bucket(at("song.mp3", bucket))
    assert refused(lambda: folders.read(at("song.mp3", bucket), tmp_path / "input")).code == "input_refused"


def test_a_link_out_of_the_bucket_is_not_followed(folders, folder, tmp_path):
    (folder / "music-1" / "link").symlink_to(tmp_path / "secret")
    (folder / "music-1" / "up").symlink_to(tmp_path)
    (folder / "elsewhere").symlink_to(tmp_path)
    for location in (at("link"), at("up/secret"), at("secret", "elsewhere")):
        assert refused(lambda location=location: folders.read(location, tmp_path / "input")).code == "input_refused"
    assert refused(lambda: folders.write(at(""), "up/new", b"")).code == "input_refused"


def test_missing_and_too_large_objects_are_reported(folders, folder, tmp_path):
    for location in (at("a/other.mp3"), at("a"), at("song.mp3", "other-1")):
        assert refused(lambda location=location: folders.read(location, tmp_path / "input")).code == "input_not_found"
    (folder / "music-1" / "long").write_bytes(bytes(10_001))
    assert refused(lambda: folders.read(at("long"), tmp_path / "input")).code == "input_too_large"
    stop = threading.Event()
    stop.set()
    assert refused(lambda: folders.read(at("a/song.mp3"), tmp_path / "input", stop=stop)).code == "cancelled"
    assert not (tmp_path / "input").exists()


def test_the_first_matching_store_is_used(folder, tmp_path):
    other = tmp_path / "other"
    (other / "talk-1").mkdir(parents=True)
    storage = Storage(
        ServerSettings(
            storages=(
                StorageSettings(bucket="music-*", region="ap-*", folder=folder),
                StorageSettings(bucket="talk-*", folder=other),
            )
        )
    )
    known = [
        storage.has_bucket(location)
        for location in (at("x"), at("x", "talk-1"), at("x", "music-2"), at("x", region="eu-1"), at("x", "none-1"))
    ]
    assert known == [True, True, False, False, False]


def test_the_published_vectors_of_the_signature():
    """From AWS's description of Signature version 4 for S3."""
    headers = signed(
        "GET",
        "https://examplebucket.s3.amazonaws.com/test.txt",
        b"",
        "us-east-1",
        OF_AWS,
        MAY_2013,
        {"Range": "bytes=0-9"},
    )
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    url = object_url("https://s3.amazonaws.com", "examplebucket", "test$file.text", in_path=False)
    headers = signed(
        "PUT",
        url,
        b"Welcome to Amazon S3.",
        "us-east-1",
        OF_AWS,
        MAY_2013,
        {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
    )
    assert headers["Authorization"].endswith("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
    assert "wJalrXUtnFEMI" not in repr(OF_AWS)


def test_an_object_behind_an_s3_interface_is_fetched_with_a_signature(net, tmp_path):
    """Under a private address, which the operator named; the bucket is the first part of the path."""
    store = StorageSettings(
        endpoint=f"http://127.0.0.1:{net.port}", access_key="AKID", secret_key="secret", addressing="path"
    )
    storage = Storage(ServerSettings(storages=(store,)))
    net.serve("/music-1/a%20b/%C3%BC.mp3", SONG)
    storage.read(at("/a b/ü.mp3"), tmp_path / "input")
    assert (tmp_path / "input").read_bytes() == SONG
    net.serve("/music-1/out/task.json", b"")
    storage.write(at(""), "out/task.json", b"{}")
    (_, _, got, _), (method, _, put, body) = net.requests
    assert (method, body) == ("PUT", b"{}")
    for headers in (got, put):
        assert "Credential=AKID/" in headers["Authorization"]
        assert "/ap-guangzhou/s3/aws4_request" in headers["Authorization"]
        assert headers["Host"] == f"127.0.0.1:{net.port}"
    assert refused(lambda: storage.read(at("gone.mp3"), tmp_path / "b")).code == "input_not_found"
    assert refused(lambda: storage.write(at(""), "gone.json", b"")).code == "input_not_found"


def test_the_bucket_and_the_region_can_be_parts_of_the_host_name(net, tmp_path):
    store = StorageSettings(endpoint="http://cos.{region}.myqcloud.com", access_key="AKID", secret_key="secret")
    storage = Storage(ServerSettings(storages=(store,)), Rules(resolve=net.resolve))
    net.name("music-1.cos.ap-guangzhou.myqcloud.com", [PUBLIC])
    net.serve("/song.mp3", SONG)
    storage.read(at("song.mp3"), tmp_path / "input")
    assert net.requests[0][2]["Host"] == "music-1.cos.ap-guangzhou.myqcloud.com"
    for region in ("x.evil.example/", "a b", "ap-guangzhou.evil.example#", "", "AP"):
        error = refused(lambda region=region: storage.read(at("song.mp3", region=region), tmp_path / "b"))
        assert error.code == "input_refused"
    assert len(net.resolved) == 1


def test_the_key_of_a_request_takes_precedence(net, tmp_path):
    store = StorageSettings(
        endpoint=f"http://127.0.0.1:{net.port}", access_key="AKID", secret_key="secret", addressing="path"
    )
    storage = Storage(ServerSettings(storages=(store,)))
    net.serve("/music-1/song.mp3", SONG)
    storage.read(at("song.mp3", type="s3", secret_id="THEIRS", secret_key="also"), tmp_path / "input")
    assert "Credential=THEIRS/" in net.requests[0][2]["Authorization"]


def test_a_bucket_at_aws_needs_only_a_key(net, tmp_path):
    storage = Storage(ServerSettings(), Rules(resolve=net.resolve))
    location = at("song.mp3", "music", "eu-west-1", type="s3", secret_id="THEIRS", secret_key="also")
    assert storage.has_bucket(location)
    assert not storage.has_bucket({**location, "secret_id": ""})
    assert not storage.has_bucket({**location, "type": "cos"})
    net.name("music.s3.eu-west-1.amazonaws.com", ["10.0.0.1"])
    assert refused(lambda: storage.read(location, tmp_path / "input")).code == "input_refused"
    net.name("music.s3.eu-west-1.amazonaws.com", [PUBLIC])
    assert "cannot" in str(refused(lambda: storage.read(location, tmp_path / "input"))) or net.connected == [PUBLIC]
    assert net.resolved == ["music.s3.eu-west-1.amazonaws.com"] * 2


def test_redirects_of_a_store_are_not_followed(net, tmp_path):
    store = replace(StorageSettings(endpoint=f"http://127.0.0.1:{net.port}", addressing="path"))
    storage = Storage(ServerSettings(storages=(store,)))
    net.serve("/music-1/song.mp3", b"", 301, Location="http://evil.example/")
    assert refused(lambda: storage.read(at("song.mp3"), tmp_path / "input")).code == "input_refused"
    assert "Authorization" not in net.requests[0][2]  # without a key the bucket is public
    assert len(net.requests) == 1
