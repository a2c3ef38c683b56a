"""Errors that only the operator can correct: clients get a neutral text, administrators and the log the details."""

from __future__ import annotations

import errno

import pytest
from support.asgi import Exchange
from support.serving import problem, serving
from support.tencent import Client

from songprint import errors
from songprint.server import app
from songprint.store.database.sqlite import SqliteDatabase

SECRET = "/srv/private: (2003, \"Can't connect to MySQL server on 'db.internal'\")"
WORDS = ("/srv", "2003", "MySQL", "db.internal")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("world"), songs=1, rate=1e6) as world:
        yield world


@pytest.fixture(scope="module")
def keys(world):
    return {scope: world.server.keys.create(scope, scope, rate=1e6) for scope in ("identify", "admin")}


def bearer(key) -> dict[str, str]:
    return {"authorization": f"Bearer {key.token}"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.LibraryError(SECRET), 503, "unavailable"),
        (errors.LibraryVersionError(SECRET), 503, "unavailable"),
        (errors.LibraryFull(SECRET), 507, "disk_full"),
        (errors.EncoderError(SECRET), 503, "unavailable"),
        (errors.KeyRefused(SECRET), 503, "unavailable"),
        (errors.MissingExtra(SECRET), 503, "unavailable"),
        (errors.SettingsError(SECRET), 503, "unavailable"),
        (OSError(errno.ENOSPC, SECRET), 507, "disk_full"),
        (OSError(errno.EACCES, SECRET), 500, "internal"),
        (RuntimeError(SECRET), 500, "internal"),
    ],
)
def test_only_administrators_and_the_log_get_the_details(world, keys, monkeypatch, caplog, error, status, code):
    def fail(*arguments) -> None:
        raise error

    monkeypatch.setattr(type(world.library), "recording", fail)
    caplog.clear()
    answer = world.client.get("/v1/recordings/1", headers=bearer(keys["identify"]))
    problem(answer, status, code)
    assert not any(word in answer.text for word in WORDS)
    assert "db.internal" in caplog.text and answer.json()["request_id"] in caplog.text
    if status != 500:
        assert int(answer.headers["retry-after"]) > 0
    detail = problem(world.client.get("/v1/recordings/1", headers=bearer(keys["admin"])), status, code)
    assert (SECRET in detail) == isinstance(error, errors.SongprintError)


def test_without_the_database_every_route_answers_503_with_a_neutral_text(world, keys, monkeypatch):
    def fail(*arguments) -> None:
        raise errors.LibraryError(SECRET)

    signed = Client.of(world, keys["admin"]).signed("DescribeTasks", b"")
    monkeypatch.setattr(SqliteDatabase, "reading", fail)
    monkeypatch.setattr(SqliteDatabase, "writing", fail)
    for module in app.MODULES:
        for route in module.router.routes:
            for method in route.methods:
                path = route.path.replace("{part}", "gaps").replace("{name:path}", "none")
                path = path.replace("{recording_id}", "1").replace("{position}", "0")
                for headers in ({}, bearer(keys["admin"])):
                    exchange = Exchange(method, path, {**headers, "content-type": "application/json"}, [])
                    world.client.portal.call(exchange.run, world.client.app)
                    text = exchange.body.decode()
                    assert exchange.status != 500 and not any(word in text for word in WORDS), (method, path, text)
                    if path.startswith("/v1/") and path not in ("/v1/session", "/v1/explorer/inbox/{name}"):
                        assert (exchange.status, exchange.json["code"]) == (503, "unavailable"), (method, path)
                        assert exchange.answer["retry-after"]
    assert world.client.get("/healthz").status_code == 200
    ready = world.client.get("/readyz")
    assert ready.status_code == 503 and not any(word in ready.text for word in WORDS)
    refused = world.client.post("/", headers=signed, content=b"").json()["Response"]["Error"]
    assert refused["Code"] == "InternalError" and not any(word in refused["Message"] for word in WORDS)
