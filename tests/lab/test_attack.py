"""Hostile requests to a server in this process; `python -m lab.measure.attack` runs all of them."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace

import pytest
import uvicorn
from support import toy

import songprint
from lab.measure import attack, soak
from lab.measure.attack import Memory, Outcome, Row, Target
from songprint.config import ServerSettings, Settings
from songprint.server import connections, create_app

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the memory in /proc")
ROUTES = [("POST", "/v1/session"), ("PATCH", "/v1/recordings/1"), ("POST", "/v1/identify"), ("GET", "/v1/jobs")]
KINDS = ("endless body", "endless body, no key", "one byte at a time", "two lengths", "10,000 headers", "no key")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attack")
    limits = {"header_timeout": 0.3, "body_timeout": 0.3, "idle_timeout": 0.3, "max_clip_bytes": 1 << 20}
    settings = Settings(server=ServerSettings(clip_processes=1, job_processes=0, **limits))
    encoders = [toy.CalibratedToyEncoder(), toy.CalibratedToyCoverEncoder()]
    with songprint.open(folder / "library", create=True, encoder=encoders, settings=settings) as library:
        library.add(toy.write_songs(folder / "music", 1), workers=1)
        protocol = connections.Limits(settings.server).protocol
        server = uvicorn.Server(
            uvicorn.Config(create_app(library), http=protocol, ws="none", lifespan="on", log_config=None)
        )
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            token = library_key(library)
            try:
                yield Target(listener.getsockname(), token, ROUTES)
            finally:
                server.should_exit = True
                thread.join()


def library_key(library) -> str:
    from songprint.accounts.keys import Keys
    from songprint.accounts.vault import Vault

    database = library.store.catalog.database
    return Keys(database, Vault(database, library.path)).create("attacker", "admin", rate=1e6).token


def test_hostile_requests_end_within_their_limits(target, monkeypatch):
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5)
    memory = Memory(os.getpid())
    attacks = [each for each in attack.ATTACKS if each.name in KINDS]
    rows = {row.name: row for row in attack.attack_requests(target, memory, attacks, patience=20.0)}
    memory.close()
    assert [problem for row in rows.values() for problem in row.problems] == []
    assert rows.keys() == set(KINDS) and all(row.tries == len(ROUTES) for row in rows.values())
    assert rows["endless body"].statuses[413] == 3 and rows["endless body, no key"].statuses[401] == 3
    assert rows["two lengths"].statuses[400] == len(ROUTES)
    assert rows["no key"].statuses[401] == 3


def test_a_server_that_breaks_a_limit_is_reported(monkeypatch):
    memory = Memory(os.getpid())
    memory.idle = 0
    monkeypatch.setattr(attack, "SERVER_BYTES", 0)
    with memory.limiting(Row("a")) as row:
        pass
    memory.close()
    assert "above its idle state" in row.problems[0]
    good = Outcome(401, 0.1, 100, ended=True)
    route = ("GET", "/v1/jobs")
    assert attack._problem(route, good, has_key=False) == ""
    for bad in (
        replace(good, ended=False),
        replace(good, status=500),
        replace(good, status=200),
        replace(good, sent=1 << 30),
    ):
        assert attack._problem(route, bad, has_key=False)


def test_the_soak_test_finds_processes_that_grow():
    flat, growing = [100] * 40, [100 + number for number in range(40)]
    samples = [{"flat": a, "growing": b} for a, b in zip(flat, growing, strict=True)]
    found = {growth.name: growth.share for growth in soak.growths([*samples, {"new": 1}])}
    assert found["flat"] == 0 and found["growing"] > 0.1 and "new" not in found
