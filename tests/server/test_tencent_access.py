"""Access to Tencent's API: forged, late, truncated and too large requests are refused, each with its code."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
from support.serving import serving
from support.tencent import CALLBACK, Client, request_of

from songprint.server.tencent import endpoint, known

TASK = {"TaskId": "nope"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("world"),
        songs=1,
        names=("music.example.org",),
        trusted_proxies=("127.0.0.1",),
        rates={"DescribeUsageData": 0.01},
    ) as world:
        yield world


@pytest.fixture
def client(world) -> Client:
    return Client.of(world, world.server.keys.create("player", "identify"))


def refusal(answer: dict) -> str:
    return answer["Error"]["Code"]


def test_an_unsigned_request_is_refused_with_the_missing_parameter(world):
    headers = {"X-TC-Action": "DescribeTasks", "X-TC-Version": "2019-06-12"}
    answer = world.client.post("/", content=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert "Authorization" in answer.json()["Response"]["Error"]["Message"]
    assert refusal(answer.json()["Response"]) == "MissingParameter"


def test_a_forged_request_is_refused(client):
    assert client.refusal("DescribeTaskDetail", TASK) == "ResourceNotFound"  # the key is valid
    body = json.dumps(TASK).encode()
    headers = client.signed("DescribeTaskDetail", body)
    for changed in (body[:-3], b"", b'{"TaskId": "other"}', body + b" "):
        assert refusal(client.opened("POST", "/", changed, headers)) == "AuthFailure.SignatureFailure"
    later = headers | {"x-tc-timestamp": str(int(headers["x-tc-timestamp"]) + 1)}
    assert refusal(client.opened("POST", "/", body, later)) == "AuthFailure.SignatureFailure"
    client.secret_key = "guessed"
    assert client.refusal("DescribeTaskDetail", TASK) == "AuthFailure.SignatureFailure"
    client.secret_id = "AKIDnobody"
    assert client.refusal("DescribeTaskDetail", TASK) == "AuthFailure.SecretIdNotFound"


def test_a_revoked_key_is_unknown(client, world):
    world.server.keys.revoke(client.secret_id)
    assert client.refusal("DescribeTaskDetail", TASK) == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize("clock", [-3600, -301, 302, 86400])
def test_a_late_or_early_request_is_refused_even_with_a_wrong_key(client, clock):
    client.clock = clock
    assert client.refusal("DescribeTaskDetail", TASK) == "AuthFailure.SignatureExpire"
    client.secret_key = "guessed"
    assert client.refusal("DescribeTaskDetail", TASK) == "AuthFailure.SignatureExpire"
    assert refusal(client.v1("POST", "DescribeTaskDetail", TASK)) == "AuthFailure.SignatureExpire"


def test_a_repeated_request_is_accepted(client):
    headers = client.signed("DescribeTasks", b'{"Status": "FINISH"}')
    answers = [client.opened("POST", "/", b'{"Status": "FINISH"}', headers) for _ in range(2)]
    assert answers[0] == answers[1] and "Error" not in answers[0]


def test_a_request_for_another_server_is_refused(client):
    body = json.dumps(TASK).encode()
    meant = client.signed("DescribeTaskDetail", body) | {"host": "evil.example:8080"}
    assert refusal(client.opened("POST", "/", body, meant)) == "AuthFailure.SignatureFailure"


def test_every_spelling_of_the_host_is_accepted(client):
    body = json.dumps(TASK).encode()
    for signed_host, service in (
        ("localhost", "localhost:8080"),
        ("music.example.org", "music"),
        ("localhost:8080", "1"),
    ):
        client.host, client.service = signed_host, service
        headers = client.signed("DescribeTaskDetail", body) | {"host": "localhost:8080"}
        assert refusal(client.opened("POST", "/", body, headers)) == "ResourceNotFound"
    client.host = "mps.tencentcloudapi.com"  # with a custom DNS entry
    assert client.refusal("DescribeTaskDetail", TASK) == "ResourceNotFound"


@pytest.mark.parametrize("path", ["/mps", "/some/prefix", "/mps/"])
def test_an_endpoint_may_have_a_path(client, path):
    on_path = replace(client, host=f"localhost:8080{path}")
    sent = json.dumps(TASK).encode()
    for wanted in (client, on_path):
        answer = client.opened("POST", path, sent, wanted.signed("DescribeTaskDetail", sent))
        assert refusal(answer) == "ResourceNotFound"
    query = "TaskId=nope"
    signed = on_path.signed("DescribeTaskDetail", b"", method="GET", query=query)
    assert refusal(client.opened("GET", f"{path}?{query}", b"", signed)) == "ResourceNotFound"
    form = {"host": "localhost:8080", "content-type": "application/x-www-form-urlencoded"}
    assert refusal(client.opened("POST", path, b"Action=DescribeTaskDetail", form)) == "MissingParameter"


def test_other_requests_at_a_path_are_not_for_tencent(client, world):
    for method, path, headers in (
        ("POST", "/mps", {"content-type": "application/json"}),
        ("GET", "/mps", {}),
        ("GET", "/v1/nothing", {"x-tc-action": "ProcessMedia"}),
    ):
        assert world.client.request(method, path, headers=headers).status_code in (404, 405)
    elsewhere = {"host": "evil.example.org", "content-type": "application/json"}
    assert world.client.post("/mps", headers=elsewhere).status_code == 421


def test_a_forwarded_host_is_accepted_only_from_a_trusted_proxy(client, world, tmp_path):
    body, client.host = json.dumps(TASK).encode(), "public.example.net"
    behind = {"host": "inner:8080", "x-forwarded-host": "public.example.net"}
    headers = client.signed("DescribeTaskDetail", body) | behind
    assert refusal(client.opened("POST", "/", body, headers)) == "ResourceNotFound"
    with serving(tmp_path, songs=1) as untrusting:
        other = Client.of(untrusting, untrusting.server.keys.create("player", "identify"))
        other.host = "public.example.net"
        headers = other.signed("DescribeTaskDetail", body) | behind
        assert refusal(other.opened("POST", "/", body, headers)) == "AuthFailure.SignatureFailure"


def test_temporary_credentials_are_refused(client):
    assert client.refusal("DescribeTaskDetail", TASK, x_tc_token="tok") == "AuthFailure.TokenFailure"


def test_too_large_requests_are_refused(client):
    body = b" " * (10 << 20)
    assert client.refusal("DescribeTaskDetail", body=b"{}" + body[2:]) == "MissingParameter"
    assert client.refusal("DescribeTaskDetail", body=body + b"{}") == "RequestSizeLimitExceeded"
    assert refusal(client.v1("POST", "DescribeTaskDetail", {"TaskId": "a" * (1 << 20)})) == "RequestSizeLimitExceeded"
    assert refusal(client.get("DescribeTaskDetail", {"TaskId": "a" * (33 << 10)})) == "RequestSizeLimitExceeded"


def test_a_too_large_body_without_content_length_is_refused(client):
    headers = client.signed("DescribeTaskDetail", b"")
    endless = (b" " * (1 << 20) for _ in range(80))
    assert refusal(client.opened("POST", "/", endless, headers)) == "RequestSizeLimitExceeded"


def test_a_too_large_content_length_is_refused_without_reading(client):
    headers = client.signed("DescribeTaskDetail", b"{}") | {"content-length": "999999999999"}
    assert refusal(client.opened("POST", "/", b"{}", headers)) == "RequestSizeLimitExceeded"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused_in_the_same_envelope(client, method):
    assert refusal(client.opened(method, "/", b"", client.signed("DescribeTasks", b""))) == "UnsupportedProtocol"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"5", b"null", b'"text"', b"\xff\xfe", b"[" * 200_000, b'{"TaskId": NaNa}', b"9" * 10_000]
)
def test_bodies_that_are_not_json_objects_are_refused(client, body):
    assert client.refusal("DescribeTaskDetail", body=body) == "InvalidParameter"


def test_contradictory_flattened_parameters_are_refused(client):
    for flat in ({"A": "1", "A.B": "2"}, {"A.B": "2", "A": "1"}, {".".join("a" * 50): "1"}):
        assert refusal(client.get("DescribeTaskDetail", flat)) == "InvalidParameter"
    assert refusal(client.get("DescribeTaskDetail", {"TaskId.0": "a"})) == "InvalidParameter"


@pytest.mark.parametrize(
    ("action", "version", "code"),
    [
        ("NoSuchThing", "2019-06-12", "InvalidAction"),
        ("processMedia", "2019-06-12", "InvalidAction"),
        ("EditMedia", "2019-06-12", "UnsupportedOperation"),
        ("ProcessMedia", "2017-03-12", "NoSuchVersion"),
    ],
)
def test_unknown_and_unsupported_actions_have_different_codes(client, action, version, code):
    assert client.refusal(action, {}, x_tc_version=version) == code


def test_every_tencent_action_is_recognised(client):
    for action in sorted(known.ACTIONS)[::10]:
        assert client.refusal(action, {}) in ("UnsupportedOperation", "MissingParameter")


def test_requests_beyond_the_rate_limit_are_refused(world, client):
    slow = Client.of(world, world.server.keys.create("slow", "identify", rate=0.01))
    codes = [slow.refusal("DescribeTaskDetail", TASK) for _ in range(2)]
    assert codes == ["ResourceNotFound", "RequestLimitExceeded.UinLimitExceeded"]
    codes = [client.refusal("DescribeUsageData", {}) for _ in range(2)]
    assert codes == ["MissingParameter", "RequestLimitExceeded"]
    assert client.refusal("DescribeTaskDetail", TASK) == "ResourceNotFound"


def test_wrong_signatures_are_rate_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "MAX_WRONG_KEYS", 0.01)
    with serving(tmp_path, songs=1) as world:
        client = Client.of(world, world.server.keys.create("player", "identify"))
        right, client.secret_key = client.secret_key, "guessed"
        codes = [client.refusal("DescribeTaskDetail", TASK) for _ in range(2)]
        assert codes == ["AuthFailure.SignatureFailure", "RequestLimitExceeded.IPLimitExceeded"]
        client.secret_key = right
        assert client.refusal("DescribeTaskDetail", TASK) == "ResourceNotFound"


def test_an_internal_error_does_not_reveal_its_cause(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret place")

    monkeypatch.setattr(endpoint, "named", broken)
    with caplog.at_level(logging.CRITICAL):
        answer = client.call("DescribeTaskDetail", TASK)
    assert refusal(answer) == "InternalError" and "secret" not in json.dumps(answer)


def test_browsers_get_the_page_instead_of_the_api(world):
    assert "Response" not in world.client.get("/", headers={"accept": "text/html"}).text
    assert "Response" in world.client.get("/?Action=DescribeTasks&Signature=x&SecretId=y").json()
    assert "Response" in world.client.get("/", headers={"X-TC-Action": "DescribeTasks"}).json()


def test_secrets_are_not_logged(world, client, caplog):
    with caplog.at_level(logging.DEBUG):
        client.call("ProcessMedia", request_of(TaskNotifyConfig=CALLBACK | {"NotifyKey": "k3y9"}))
        client.refusal("ProcessMedia", request_of(SessionId=5))
    assert client.secret_key not in caplog.text and "k3y9" not in caplog.text
