"""Tencent's signatures: published vectors, differences between SDKs, forged requests."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from songprint.server.tencent import signatures
from songprint.server.tencent.signatures import Refused, Request

SECRET_ID, SECRET_KEY, NOW, HOST = "AKIDlocal", "localsecret", 1700000000, "127.0.0.1:8080"
BODY = b'{"TaskId": "1-WorkflowTask-abc"}'
SIGNATURE = "751e0af3feb563a95e2903c28ff30dbd9e2a5d9e255119eb5f9ab974e2013d05"


def authorization(
    signature: str = SIGNATURE,
    *,
    secret_id: str = SECRET_ID,
    date: str = "2023-11-14",
    service: str = "mps",
    signed: str = "content-type;host",
) -> str:
    return (
        f"TC3-HMAC-SHA256 Credential={secret_id}/{date}/{service}/tc3_request, SignedHeaders={signed}, "
        f"Signature={signature}"
    )


def tc3(**changes: str) -> Request:
    """The request of the published vector. `changes` set headers (`x_tc_region`), None removes one."""
    headers = {
        "content-type": "application/json",
        "host": HOST,
        "x-tc-action": "DescribeTaskDetail",
        "x-tc-version": "2019-06-12",
        "x-tc-timestamp": str(NOW),
        "authorization": authorization(),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return Request("POST", "", {name: value for name, value in headers.items() if value is not None}, BODY)


def signed(
    request: Request,
    host: str,
    service: str = "mps",
    signed_headers: str = "content-type;host",
    date: str = "2023-11-14",
) -> Request:
    canonical = signatures.canonical_request(request, signed_headers, host)
    signature = signatures.tc3_signature(
        signatures.tc3_key(SECRET_KEY, date, service), NOW, f"{date}/{service}/tc3_request", canonical
    )
    header = authorization(signature, service=service, signed=signed_headers, date=date)
    return replace(request, headers={**request.headers, "authorization": header})


def accepted(request: Request, secret_key: str = SECRET_KEY, names: tuple[str, ...] = ()) -> bool:
    hosts = signatures.hosts_of(request.headers.get("host", ""), names)
    return signatures.matches(signatures.read(request), request, secret_key, hosts)


def test_the_published_vector_of_tc3_matches():
    canonical = signatures.canonical_request(tc3(), "content-type;host", HOST)
    assert hashlib.sha256(BODY).hexdigest() == "9dada8fff317a5f46c2aeddf12156511c9c162abeafd21d8fc47310511233e00"
    assert (
        hashlib.sha256(canonical.encode()).hexdigest()
        == "e19b46e1e01ecda309a2adda7be000f38318e933c04e658ae39dfdb97886f9f3"
    )
    key = signatures.tc3_key(SECRET_KEY, "2023-11-14", "mps")
    assert key.hex() == "0a344732a872184fba63199ef062b6f53dba490529af21ce376498ce45ba1621"
    assert signatures.tc3_signature(key, NOW, "2023-11-14/mps/tc3_request", canonical) == SIGNATURE
    assert accepted(tc3())


def test_the_published_vector_of_v1_matches():
    parameters = {
        "Action": "DescribeTaskDetail",
        "Language": "en-US",
        "Nonce": "12345",
        "RequestClient": "SDK_PYTHON_3.1.194",
        "SecretId": SECRET_ID,
        "SignatureMethod": "HmacSHA256",
        "TaskId": "1-WorkflowTask-abc",
        "Timestamp": str(NOW),
        "Version": "2019-06-12",
    }
    signature = signatures.v1_signature(SECRET_KEY, "HmacSHA256", signatures.v1_string("POST", HOST, parameters))
    assert signature == "WVxM6VthGAbdNkAPy0GtZBYcNhqg+bfWbU5V06gl/kE="
    body = urlencode(parameters | {"Signature": signature}).encode()
    request = Request("POST", "", {"content-type": "application/x-www-form-urlencoded", "host": HOST}, body)
    assert accepted(request)
    assert signatures.read(request).parameters["TaskId"] == "1-WorkflowTask-abc"
    assert not accepted(request, "wrong")
    assert not accepted(replace(request, body=body.replace(b"abc", b"abd")))


@pytest.mark.parametrize("method", ["HmacSHA1", "HmacSHA256", None])
@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
def test_v1_signatures_in_a_query_match(method, host):
    parameters = {
        "Action": "ProcessMedia",
        "SecretId": SECRET_ID,
        "Timestamp": str(NOW),
        "Version": "2019-06-12",
        "InputInfo.UrlInputInfo.Url": "http://a/ü b?c=d&e+f",
        "Definitions_0": "21",
    }
    parameters |= {"SignatureMethod": method} if method else {}
    text = signatures.v1_string("GET", host, parameters)
    assert "Definitions.0=21" in text
    query = urlencode(parameters | {"Signature": signatures.v1_signature(SECRET_KEY, method or "HmacSHA1", text)})
    assert accepted(Request("GET", query, {"host": HOST}, b""))
    assert not accepted(Request("POST", "", {"host": HOST, "content-type": signatures.FORM}, query.encode()))


def test_a_signature_may_omit_the_port_and_name_another_service():
    for host, service in (("127.0.0.1", "127"), (HOST, "localhost:8080"), ("127.0.0.1", "mps")):
        assert accepted(signed(tc3(), host, service))
    mixed = tc3(host="Music.Example.org:8080")
    assert accepted(signed(mixed, "Music.Example.org:8080"))
    assert accepted(signed(mixed, "music.example.org"))


def test_a_proxy_host_name_is_accepted_only_if_configured():
    request = signed(tc3(host="10.0.0.5:8080"), "music.example.org")
    assert not accepted(request)
    assert accepted(request, names=("music.example.org",))
    assert accepted(signed(tc3(), "music.example.org:443"), names=("music.example.org:443",))


def test_further_headers_may_be_signed():
    request = signed(tc3(), HOST, signed_headers="content-type;host;x-tc-action")
    assert accepted(request)
    assert not accepted(replace(request, headers={**request.headers, "x-tc-action": "ManageTask"}))


def test_the_received_content_type_is_signed():
    assert accepted(signed(tc3(content_type="application/json; charset=utf-8"), HOST))


def test_a_payload_may_be_left_unsigned():
    request = signed(tc3(x_tc_content_sha256="UNSIGNED-PAYLOAD"), HOST)
    assert accepted(replace(request, body=b"{}"))


def test_the_query_is_signed_as_received():
    request = Request("GET", "b=2&a=1&c=%2f", {**tc3().headers, "content-type": signatures.FORM}, b"")
    assert accepted(signed(request, HOST))
    assert signatures.read(signed(request, HOST)).parameters == {"b": "2", "a": "1", "c": "/"}
    assert not accepted(replace(signed(request, HOST), query="a=1&b=2&c=%2f"))


def test_a_repeated_request_matches():
    assert accepted(tc3()) and accepted(tc3())


def test_forged_and_truncated_requests_do_not_match():
    assert not accepted(tc3(), "wrong")
    assert not accepted(replace(tc3(), body=BODY[:-1]))
    assert not accepted(replace(tc3(), body=b""))
    assert not accepted(tc3(host="evil.example"))
    assert not accepted(tc3(x_tc_timestamp=str(NOW + 1)))
    assert not accepted(tc3(authorization=authorization(SIGNATURE[:-1] + "0")))
    assert not accepted(tc3(authorization=authorization(service="cvm")))
    assert not accepted(signed(tc3(), HOST, date="2023-11-15"))  # the scope's day differs from the timestamp
    assert accepted(tc3(authorization=authorization(SIGNATURE.upper())))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (tc3(authorization=None), "MissingParameter"),
        (tc3(x_tc_action=None), "MissingParameter"),
        (tc3(x_tc_version=None), "MissingParameter"),
        (tc3(x_tc_timestamp=None), "MissingParameter"),
        (tc3(authorization="SKIP"), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization=""), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization="Bearer abc"), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization=authorization(signed="host")), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization=authorization("zz")), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization=authorization(date="yesterday")), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization=authorization().replace("tc3_request", "aws4_request")), "AuthFailure.InvalidAuthorization"),
        (tc3(authorization=authorization(secret_id="a'b")), "AuthFailure.InvalidSecretId"),
        (tc3(authorization=authorization(secret_id="a" * 200)), "AuthFailure.InvalidSecretId"),
        (tc3(x_tc_timestamp="now"), "InvalidParameterValue"),
        (tc3(x_tc_timestamp="-1"), "InvalidParameterValue"),
        (tc3(x_tc_timestamp="1" * 30), "InvalidParameterValue"),
        (tc3(x_tc_timestamp="١٧"), "InvalidParameterValue"),
        (Request("GET", "SecretId=a&Signature=b", {}, b""), "MissingParameter"),
        (Request("GET", "SecretId=a&Signature=b&Action=A&Version=1&Timestamp=x", {}, b""), "InvalidParameterValue"),
        (
            Request("GET", "SecretId=a&Signature=b&Action=A&Version=1&Timestamp=1&SignatureMethod=None", {}, b""),
            "InvalidParameterValue",
        ),
        (Request("GET", "&".join(f"a{n}=1" for n in range(10_002)), {}, b""), "InvalidParameter"),
        (Request("POST", "", {}, b"{}"), "MissingParameter"),
    ],
)
def test_malformed_requests_are_refused_with_their_code(request_, code):
    with pytest.raises(Refused) as caught:
        signatures.read(request_)
    assert caught.value.code == code


@pytest.mark.parametrize("off", [-301, 301, -3600, 86400])
def test_late_and_early_requests_are_refused(off):
    claim = signatures.read(tc3())
    signatures.check_time(claim, NOW - 299, 300)
    with pytest.raises(Refused) as caught:
        signatures.check_time(claim, NOW + off, 300)
    assert caught.value.code == "AuthFailure.SignatureExpire"


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-tc-action", "x-tc-version", "x-tc-timestamp", "host", "content-type"]),
        st.text(max_size=40),
    ),
    st.binary(max_size=60),
    st.text(),
)
def test_arbitrary_requests_are_refused_or_do_not_match(headers, body, query):
    for method in ("GET", "POST"):
        request = Request(method, query, headers, body)
        with contextlib.suppress(Refused):
            assert not accepted(request)
