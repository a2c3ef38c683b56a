"""Access: keys and scopes, sessions of the page, servers without keys, requests from other sites."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from support import toy
from support.asgi import Exchange
from support.serving import problem, serving

from songprint.server import create_app
from songprint.server.web.sessions import COOKIE


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server with keys."""
    with serving(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def tokens(world) -> dict[str, str]:
    """A token of each scope."""
    made = {scope: world.server.keys.create(scope, scope) for scope in ("identify", "write", "admin")}
    return {scope: {"authorization": f"Bearer {key.token}"} for scope, key in made.items()}


def test_requests_without_a_valid_token_are_refused_once_a_key_exists(world, tokens):
    for method, address in (
        ("GET", "/v1/recordings"),
        ("POST", "/v1/identify"),
        ("GET", "/v1/jobs"),
        ("GET", "/metrics"),
    ):
        answer = world.client.request(method, address)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for wrong in ("Bearer sp_wrong", "Bearer", "Basic dTpw", "Bearer \xff"):
        problem(world.client.get("/v1/jobs", headers={"authorization": wrong.encode("latin-1")}), 401, "unauthorized")
    assert world.client.get("/healthz").status_code == 200


def test_each_scope_includes_the_scopes_before_it(world, tokens):
    query = world.clip(3)
    for scope, may in (("identify", (200, 403, 403)), ("write", (200, 422, 403)), ("admin", (200, 422, 200))):
        answers = (
            world.client.post("/v1/identify", content=query, headers=tokens[scope]),
            world.client.post("/v1/recordings", content=b"no music", headers=tokens[scope]),
            world.client.get("/v1/keys", headers=tokens[scope]),
        )
        assert tuple(answer.status_code for answer in answers) == may


def test_only_administrators_see_paths_of_the_server(world, tokens):
    folder = str(world.folder)
    for address in ("/v1/recordings", "/v1/recordings/1", "/v1/duplicates"):
        assert folder not in world.client.get(address, headers=tokens["identify"]).text
        assert folder not in world.client.get(address, headers=tokens["write"]).text
    report = world.client.post("/v1/identify", content=world.clip(3), headers=tokens["identify"])
    assert report.json()["matches"][0]["recording"]["source"] == "Band 03 - Song 03.wav"
    assert folder in world.client.get("/v1/recordings/1", headers=tokens["admin"]).text


def test_a_key_sees_its_own_jobs_and_those_of_its_sub_keys(world, tokens):
    keys = world.server.keys
    parent = keys.create("department", "write")
    child = keys.create("player", "identify", parent=parent.key.id)
    other = keys.create("other", "write")
    job = world.server.jobs.submit({"type": "url", "url": "https://example.org/a"}, key_id=child.key.id)
    for key, status in ((parent, 200), (child, 200), (other, 404)):
        headers = {"authorization": f"Bearer {key.token}"}
        assert world.client.get(f"/v1/jobs/{job.id}", headers=headers).status_code == status
        listed = world.client.get("/v1/jobs", headers=headers).json()["items"]
        assert [each["id"] for each in listed] == ([job.id] if status == 200 else [])
        for method, address in (("POST", "cancel"), ("GET", "events"), ("GET", "audio"), ("GET", "deliveries")):
            if status == 404:
                problem(
                    world.client.request(method, f"/v1/jobs/{job.id}/{address}", headers=headers), 404, "job_not_found"
                )
    assert world.client.get(f"/v1/jobs/{job.id}", headers=tokens["admin"]).status_code == 200
    world.server.jobs.cancel(job.id)


def test_keys_are_created_and_revoked(world, tokens):
    wanted = {"name": "radio", "scope": "identify", "rate": 50}
    made = world.client.post("/v1/keys", json=wanted, headers=tokens["admin"])
    assert made.status_code == 201
    mine = {"authorization": f"Bearer {made.json()['token']}"}
    assert world.client.get("/v1/recordings", headers=mine).status_code == 200
    listed = world.client.get("/v1/keys", headers=tokens["admin"]).json()["items"]
    assert made.json()["id"] in [key["id"] for key in listed] and "token" not in listed[0]
    ended = world.client.delete(f"/v1/keys/{made.json()['id']}", headers=tokens["admin"]).json()["items"]
    assert [key["id"] for key in ended] == [made.json()["id"]]
    problem(world.client.get("/v1/recordings", headers=mine), 401, "unauthorized")
    problem(world.client.delete("/v1/keys/nobody", headers=tokens["admin"]), 404, "key_not_found")
    noted = world.client.get("/v1/audit", headers=tokens["admin"]).json()["items"]
    assert [entry["action"] for entry in noted[:2]] == ["keys.revoke", "keys.create"]


def test_the_audit_log_names_recordings_that_were_removed(world, tokens):
    mine, client = tokens["write"], world.client
    sent = {"file": ("new.wav", world.wav(toy.song(50)))}
    new = client.post("/v1/recordings", files=sent, data={"title": "New: one"}, headers=mine).json()["recording"]["id"]
    client.patch(f"/v1/recordings/{new}", json={"title": "Renamed", "year": 1999}, headers=mine)
    client.put("/v1/works", json={"recordings": [1, new], "work": "W"}, headers=mine)
    for recording in (1, new):
        client.delete(f"/v1/recordings/{recording}/work", headers=mine)
    client.delete(f"/v1/recordings/{new}", headers=mine)
    noted = client.get("/v1/audit?limit=6", headers=tokens["admin"]).json()["items"]
    assert [(entry["action"], entry["subject"]) for entry in reversed(noted)] == [
        ("recordings.add", f"{new} New: one"),
        ("recordings.edit", f"{new} Renamed: title, year"),
        ("works.link", f"W: [1, {new}]"),
        ("works.unlink", "1 Song 00"),
        ("works.unlink", f"{new} Renamed"),
        ("recordings.remove", f"{new} Renamed"),
    ]


def test_an_administrator_with_a_parent_manages_only_its_own_sub_keys(world, tokens):
    keys = world.server.keys
    company = keys.create("company", "admin")
    part = keys.create("part", "admin", parent=company.key.id)
    mine = {"authorization": f"Bearer {part.token}"}
    made = world.client.post("/v1/keys", json={"name": "below", "scope": "write"}, headers=mine).json()
    assert made["parent"] == part.key.id
    listed = world.client.get("/v1/keys", headers=mine).json()["items"]
    assert {key["id"] for key in listed} == {part.key.id, made["id"]}
    problem(world.client.delete(f"/v1/keys/{company.key.id}", headers=mine), 404, "key_not_found")
    above = world.client.post("/v1/keys", json={"name": "x", "scope": "write", "parent": company.key.id}, headers=mine)
    problem(above, 404, "key_not_found")
    problem(world.client.get("/v1/audit", headers=mine), 403, "forbidden")


def test_too_many_requests_get_429_with_the_time_to_wait(world, tokens):
    slow = world.server.keys.create("slow", "identify", rate=0.5)
    mine = {"authorization": f"Bearer {slow.token}"}
    answers = [world.client.get("/v1/recordings", headers=mine) for _ in range(3)]
    problem(answers[-1], 429, "too_often")
    assert int(answers[-1].headers["retry-after"]) >= 1
    guesses = [world.client.get("/v1/jobs", headers={"authorization": f"Bearer sp_{guess}"}) for guess in range(40)]
    problem(next(answer for answer in guesses if answer.status_code != 401), 429, "too_often")
    assert world.client.get("/v1/recordings", headers=tokens["identify"]).status_code == 200


def test_sub_keys_share_the_rate_of_their_parent(world):
    parent = world.server.keys.create("label", "write", rate=2)
    children = [world.server.keys.create(f"player {number}", "identify", parent=parent.key.id) for number in range(4)]
    answers = [
        world.client.get("/v1/recordings", headers={"authorization": f"Bearer {child.token}"}).status_code
        for child in children
    ]
    assert answers == [200, 200, 429, 429]


def test_the_page_signs_in_with_a_cookie_and_needs_a_csrf_token_for_changes(world, tokens):
    token = tokens["write"]["authorization"].removeprefix("Bearer ")
    page = {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin"}
    signed_in = world.client.post("/v1/session", json={"token": token}, headers=page)
    assert signed_in.status_code == 200 and signed_in.json()["scope"] == "write"
    cookie = signed_in.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and token.lower() not in cookie
    assert world.client.get("/v1/session").json()["csrf"] == signed_in.json()["csrf"]
    assert world.client.get("/v1/recordings").status_code == 200
    change = {"title": "Renamed"}
    problem(world.client.patch("/v1/recordings/1", json=change), 403, "csrf")
    problem(world.client.patch("/v1/recordings/1", json=change, headers={"x-csrf-token": "wrong"}), 403, "csrf")
    proof = {"x-csrf-token": signed_in.json()["csrf"]}
    assert world.client.patch("/v1/recordings/1", json=change, headers=proof).status_code == 200
    assert world.client.delete("/v1/session", headers=page).status_code == 204
    problem(world.client.get("/v1/recordings"), 401, "unauthorized")


def test_forged_and_expired_cookies_are_ignored(world, tokens, monkeypatch):
    key = world.server.keys.create("short", "write")
    _, cookie = world.server.sessions.begin(key.key.id)

    def status(value: str) -> int:
        return world.client.get("/v1/recordings", headers={"cookie": f"{COOKIE}={value}"}).status_code

    content, _, seal = cookie.rpartition(".")
    assert status(cookie) == 200
    for forged in ("", ".", "a.b.c", f"{content}.{seal[:-1]}x", cookie.replace(content[-3:], "999"), "x" * 5000):
        assert status(forged) == 401
    monkeypatch.setattr("songprint.server.web.sessions.time.time", lambda: 4e9)
    assert status(cookie) == 401
    monkeypatch.undo()
    world.server.keys.revoke(key.key.id)
    assert status(cookie) == 401


def test_signing_in_from_another_site_or_with_a_wrong_token_fails(world, tokens):
    token = tokens["write"]["authorization"].removeprefix("Bearer ")
    elsewhere = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    problem(world.client.post("/v1/session", json={"token": token}, headers=elsewhere), 403, "cross_site")
    problem(world.client.post("/v1/session", json={"token": ""}), 422, "invalid_request")


@pytest.fixture(scope="module")
def keyless(tmp_path_factory):
    """A server without keys: local users may do everything, others nothing."""
    with serving(tmp_path_factory.mktemp("open"), songs=1, names=("music.lan",)) as world:
        yield world


def test_a_server_without_keys_allows_everything_on_its_own_machine(keyless):
    assert keyless.client.get("/v1/session").json() == {"key": None, "name": "", "scope": "admin", "csrf": None}
    assert keyless.client.get("/v1/audit").status_code == 200


def test_a_server_without_keys_refuses_other_machines(keyless):
    stranger = TestClient(keyless.client.app, base_url="http://localhost:8080", client=("192.0.2.7", 5000))
    problem(stranger.get("/v1/recordings"), 403, "no_keys")


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "X-Real-IP",
        "Via",
        "CF-Connecting-IP",
    ],
)
def test_a_server_without_keys_refuses_requests_that_a_proxy_forwarded(keyless, name):
    refused = keyless.client.get("/v1/recordings", headers={name: "203.0.113.7"})
    assert "songprint keys create" in problem(refused, 403, "no_keys")
    assert keyless.client.get("/healthz", headers={name: "203.0.113.7"}).status_code == 200


def test_a_server_without_keys_refuses_http_1_0_which_proxies_use_by_default(keyless):
    exchange = Exchange("GET", "/v1/recordings", chunks=[], http_version="1.0")
    keyless.client.portal.call(exchange.run, keyless.client.app)
    assert (exchange.status, exchange.json["code"]) == (403, "no_keys")


def test_a_server_with_keys_accepts_forwarded_requests(world, tokens):
    headers = {**tokens["identify"], "X-Forwarded-For": "203.0.113.7", "Via": "1.1 proxy"}
    assert world.client.get("/v1/recordings", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8080",
        "",
        "[::2]",
        "localhost:8080@evil.example",
    ],
)
def test_unknown_host_names_are_refused(keyless, host):
    problem(keyless.client.get("/v1/recordings", headers={"host": host}), 421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:8080", "[::1]:8080", "music.lan"])
def test_names_of_this_machine_are_accepted(keyless, host):
    assert keyless.client.get("/v1/recordings", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "null"},
        {"origin": "http://["},
    ],
)
def test_pages_of_other_sites_cannot_change_anything(keyless, headers):
    sent = {"file": ("x.wav", keyless.wav(toy.song(70)))}
    problem(keyless.client.post("/v1/recordings", files=sent, headers=headers), 403, "cross_site")
    assert len(keyless.library) == 1


def test_a_missing_package_is_reported_with_the_command_that_installs_it(monkeypatch, library):
    from songprint.errors import MissingExtra

    monkeypatch.setattr("songprint.server.find_spec", lambda name: None if name == "fastapi" else object())
    with pytest.raises(MissingExtra, match=r"pip install 'songprint\[server\]'"):
        create_app(library)
