"""The edge of the application: keys are checked before bodies are read, and bodies have limits of size and time."""

from __future__ import annotations

import itertools
import json

import pytest
from support import asgi
from support.asgi import CHUNK, Exchange
from support.serving import World, serving
from support.tencent import Client

from songprint.config import ServerSettings
from songprint.server import app, edge
from songprint.server.tencent import endpoint
from songprint.server.web import inbox

LIMITS = {"max_clip_bytes": 100_000, "max_recording_bytes": 200_000, "max_bytes": 300_000}
# Limits of bodies that are not small, for bodies that are not forms.
LARGER = {
    ("POST", "/v1/identify"): 100_000,
    ("POST", "/v1/recordings"): 200_000,
    ("POST", "/v1/jobs"): 300_000,
    ("POST", "/v1/explorer/inbox/{name}"): inbox.MOST_BYTES,
}
SAMPLES = {"part": "segments", "position": "0", "job_id": "nojob", "recording_id": "999999", "name": "none"}
PUBLIC = ("/healthz", "/readyz", "/v1/session", "/docs", "/openapi.json", "/", "/page/{name:path}")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("world"), songs=2, rate=1e6, **LIMITS) as world:
        yield world


@pytest.fixture(scope="module")
def key(world):
    return world.server.keys.create("admin", "admin", rate=1e6)


@pytest.fixture(scope="module")
def token(key) -> dict[str, str]:
    return {"authorization": f"Bearer {key.token}"}


def sent(world: World, exchange: Exchange) -> Exchange:
    return world.client.portal.call(exchange.run, world.client.app)


def routes(world: World) -> list[tuple[str, str]]:
    """All methods and paths of the OpenAPI description, and of the page."""
    described = world.client.get("/openapi.json").json()["paths"]
    found = [(method.upper(), path) for path, methods in described.items() for method in methods]
    hidden = [
        (method, route.path)
        for module in app.MODULES
        for route in module.router.routes
        if not route.include_in_schema
        for method in sorted(route.methods)
    ]
    return [*found, *hidden, ("GET", "/openapi.json"), ("POST", "/v1/unknown")]


def filled(path: str) -> str:
    for name, value in SAMPLES.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    return path.replace("{key_id}", "nokey")


def test_an_endless_body_is_never_read_beyond_the_limit_of_its_route(world, token):
    walked = routes(world)
    assert len(walked) > 45
    for method, path in walked:
        most = LARGER.get((method, path), edge.SMALL_BYTES)
        for kind in ("application/json", "application/octet-stream"):
            exchange = sent(world, Exchange(method, filled(path), {"content-type": kind, **token}))
            assert exchange.consumed <= most + len(CHUNK), (method, path, exchange.consumed)
            assert 200 <= exchange.status < 500 or exchange.status == 503, (method, path, exchange.body)
            if exchange.status == 413:
                assert exchange.json["code"] == "too_large" and exchange.json["request_id"]
        announced = {"content-length": str(1 << 40), **token}
        exchange = sent(world, Exchange(method, filled(path), announced))
        assert (exchange.status, exchange.consumed) == (413, 0), (method, path)


def test_nothing_of_a_body_is_read_without_a_valid_key(world, token):
    for headers in ({}, {"authorization": "Bearer sp_wrong"}, {"cookie": "songprint_session=forged.1.a"}):
        for method, path in routes(world):
            if path in PUBLIC or path == "/v1/unknown":
                continue
            world.server.limiter.__init__()
            exchange = sent(world, Exchange(method, filled(path), headers))
            expected = 404 if path == "/v1/explorer/inbox/{name}" and method == "POST" else 401
            assert (exchange.status, exchange.consumed) == (expected, 0), (method, path)


def test_a_client_that_leaves_during_its_body_causes_no_error(world, key, token, caplog):
    form = {"content-type": "multipart/form-data; boundary=b", **token}
    for method, path in routes(world):
        for headers in ({"content-type": "application/json", **token}, token, form):
            exchange = sent(world, Exchange(method, filled(path), headers, [b"--b\r\nContent-"], leaves=True))
            assert 200 <= exchange.status < 500 or exchange.status == 503, (method, path, exchange.body)
            if (method, path) == ("POST", "/v1/jobs"):
                assert exchange.json["code"] == "incomplete"
    signed = Client.of(world, key).signed("DescribeTasks", b"")
    for headers in ({"content-type": "application/x-www-form-urlencoded"}, signed):
        sent(world, Exchange("POST", "/", headers, [b"Action="], leaves=True))
    assert not [record for record in caplog.records if record.levelname == "ERROR" or record.exc_info]
    assert list(world.server.uploads.folder.iterdir()) == []


def test_signing_in_reads_a_small_body_only(world):
    exchange = sent(world, Exchange("POST", "/v1/session", {"content-type": "application/json"}))
    assert exchange.status == 413 and exchange.consumed <= edge.SMALL_BYTES + len(CHUNK)
    assert exchange.answer["connection"] == "close"


def test_a_form_with_an_endless_file_field_header_or_end_is_refused(world, token):
    kind = {"content-type": "multipart/form-data; boundary=b", **token}
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\n'
    for start, chunk, status in (
        (file, CHUNK, 413),
        (field, CHUNK, 413),
        (b"--b\r\nX-Long: ", b"a" * 1024, 400),
        (file + b"abc\r\n--b--\r\n", CHUNK, 400),
        (b"", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n', 400),
    ):
        exchange = sent(
            world, Exchange("POST", "/v1/identify", kind, itertools.chain([start], itertools.repeat(chunk)))
        )
        assert exchange.status == status, exchange.body
        assert exchange.consumed < LIMITS["max_clip_bytes"] + 2 * len(CHUNK)
    assert list(world.server.uploads.folder.iterdir()) == []


def test_requests_with_too_many_headers_are_refused(world, token):
    many = {f"x-{number}": "a" for number in range(edge.MOST_HEADERS)}
    assert sent(world, Exchange("GET", "/healthz", many, [])).status == 431
    assert sent(world, Exchange("GET", "/healthz", {"x": "a" * edge.MOST_HEADER_BYTES}, [])).status == 431
    tencent = sent(world, Exchange("POST", "/", many | {"x-tc-action": "DescribeTasks"}))
    assert (tencent.status, tencent.consumed) == (200, 0) and "Error" in tencent.json["Response"]


def test_an_endless_body_for_tencents_api_is_refused_in_its_envelope(world, key):
    signed = Client.of(world, key).signed("DescribeTasks", b"")
    exchange = sent(world, Exchange("POST", "/", signed))
    assert exchange.status == 200 and exchange.consumed <= endpoint.MOST_BYTES + len(CHUNK)
    assert exchange.json["Response"]["Error"]["Code"] == "RequestSizeLimitExceeded"
    form = sent(world, Exchange("POST", "/", {"content-type": "application/x-www-form-urlencoded"}))
    assert form.consumed <= endpoint.MOST_FORM_BYTES + len(CHUNK)
    assert form.json["Response"]["Error"]["Code"] == "RequestSizeLimitExceeded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"authorization": ""}, "MissingParameter"),
        ({"authorization": "TC3-HMAC-SHA256 nonsense"}, "AuthFailure.InvalidAuthorization"),
        ({"x-tc-timestamp": "1"}, "AuthFailure.SignatureExpire"),
    ],
)
def test_a_body_for_tencents_api_is_not_read_without_a_valid_key(world, key, change, code):
    signed = Client.of(world, key).signed("DescribeTasks", b"") | change
    exchange = sent(world, Exchange("POST", "/", {name: value for name, value in signed.items() if value}))
    assert exchange.status == 200 and exchange.consumed == 0
    assert exchange.json["Response"]["Error"]["Code"] == code
    unknown = Client(world, "SPunknown", "secret").signed("DescribeTasks", b"")
    exchange = sent(world, Exchange("POST", "/", unknown))
    assert exchange.json["Response"]["Error"]["Code"] == "AuthFailure.SecretIdNotFound" and exchange.consumed == 0


async def reading_app(scope, receive, send) -> None:
    """Read the whole body and respond with its size."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(size).encode()})


def paced(exchange: Exchange) -> Exchange:
    """Send a request to an application that accepts pauses of 50 ms and 1,000 bytes per second."""
    settings = ServerSettings(body_timeout=0.05, min_upload_rate=1000.0)
    return asgi.run(exchange.run(edge.Edge(reading_app, routes=[], settings=settings)))


def test_a_body_that_does_not_arrive_is_refused_after_a_timeout():
    exchange = paced(Exchange("POST", "/v1/session", pause=60.0))
    assert exchange.status == 408 and exchange.json["code"] == "too_slow"
    form = {"content-type": "application/x-www-form-urlencoded"}
    tencent = paced(Exchange("POST", "/", form, pause=60.0))
    assert tencent.json["Response"]["Error"]["Code"] == "FailedOperation.NetWorkError"


def test_a_slow_body_is_accepted_if_it_reaches_the_minimum_rate():
    slow = paced(Exchange("POST", "/v1/session", chunks=itertools.repeat(b"a"), pause=0.01))
    assert slow.status == 408 and slow.consumed < 20
    honest = paced(Exchange("POST", "/v1/session", chunks=itertools.repeat(b"a" * 100, 10), pause=0.01))
    assert (honest.status, honest.json) == (200, 1000)
