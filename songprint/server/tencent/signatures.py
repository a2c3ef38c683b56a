"""Verification of Tencent Cloud's signatures: TC3-HMAC-SHA256, and v1 (HmacSHA1 and HmacSHA256).

All functions are pure. `read` parses a request into a claim, which names the sender and the signature, and refuses
malformed requests. `matches` verifies the claim with the sender's secret.

SDKs sign different values: the Node SDK signs the host without its port; some sign the service name `mps`, others the
first label of the host. Several spellings of the host are therefore tried, and the key is derived from the scope that
the request claims.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from songprint.server.tencent import messages

ALGORITHM = "TC3-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
FORM = "application/x-www-form-urlencoded"
_V1 = {"HmacSHA1": hashlib.sha1, "HmacSHA256": hashlib.sha256}
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM}\s+Credential=(?P<id>[^/\s,]+)/(?P<date>\d{{4}}-\d\d-\d\d)/(?P<service>[^/\s,]+)/tc3_request\s*,\s*"
    r"SignedHeaders=(?P<headers>[A-Za-z0-9;_-]+)\s*,\s*Signature=(?P<signature>[0-9a-fA-F]{64})",
    re.ASCII,
)
_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)
_MOST_FIELDS = 10_000


class Refused(Exception):
    """A refused request, with Tencent's error code and a message for people.

    The message is a template, the key of its Chinese form in `messages`.
    """

    def __init__(self, code: str, template: str, **values: object) -> None:
        """`values` replace the placeholders of the message. A value that is an error gives the reason."""
        message = template.format(**values)
        super().__init__(message[:1].upper() + message[1:])
        self.code = code
        self._template, self._values = template, values

    def with_code(self, code: str) -> Refused:
        """The same message with another error code."""
        return Refused(code, self._template, **self._values)

    def message(self, language: str) -> str:
        """The message in the language of `X-TC-Language`: Chinese for zh-CN, else English."""
        return messages.chinese(self._template, self._values) if language == messages.CHINESE_CODE else str(self)


@dataclass(frozen=True)
class Request:
    """A request as received."""

    method: str
    query: str  # not decoded
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Claim:
    """What a request claims; not trustworthy unless `matches` returns True."""

    secret_id: str
    action: str
    version: str
    timestamp: int  # UNIX seconds
    token: str
    region: str
    language: str
    parameters: Mapping[str, str] | None  # flattened, for v1 and GET; None: JSON in the body
    proof: Tc3Proof | V1Proof


@dataclass(frozen=True)
class Tc3Proof:
    """The parsed Authorization header of a TC3 request."""

    date: str
    service: str
    signed_headers: str
    signature: str


@dataclass(frozen=True)
class V1Proof:
    method: str  # HmacSHA1 or HmacSHA256
    signature: str  # base64


def read(request: Request) -> Claim:
    """The claim of a request; raises Refused if the request is malformed."""
    form = _form(request)
    if "authorization" in request.headers:
        return _read_tc3(request)
    if form is not None and "Signature" in form and "SecretId" in form:
        return _read_v1(form)
    raise Refused("MissingParameter", "The request is missing a required parameter: the header `Authorization`.")


def check_time(claim: Claim, now: float, skew: float) -> None:
    """Refuse a request whose timestamp differs from the server's clock by more than `skew` seconds."""
    if abs(now - claim.timestamp) > skew:
        raise Refused(
            "AuthFailure.SignatureExpire",
            "The timestamp {timestamp} differs from this server's clock ({now}) by more than {skew:g} seconds. "
            "Check the client's clock.",
            timestamp=claim.timestamp,
            now=int(now),
            skew=skew,
        )


def matches(claim: Claim, request: Request, secret_key: str, hosts: Iterable[str]) -> bool:
    """Whether the request was signed with this key for one of these host names."""
    spellings = dict.fromkeys(spelling for host in hosts for spelling in (host, host.lower()))
    # A list, not a generator: every spelling is always tried, so the time does not depend on which one matches.
    return any([_matches(claim, request, secret_key, host) for host in spellings])


def hosts_of(header: str, names: Iterable[str] = ()) -> list[str]:
    """The spellings of this server's host that a client may have signed. SDKs add the path of their endpoint to it.

    >>> hosts_of("127.0.0.1:8080", ["music.example.org"])
    ['127.0.0.1:8080', '127.0.0.1', 'music.example.org']
    """
    given = (spelling for host in (header, *names) for spelling in (host, host.partition("/")[0]))
    return list(dict.fromkeys(spelling for host in given if host for spelling in (host, re.sub(r":\d+$", "", host))))


def canonical_request(request: Request, signed_headers: str, host: str, *, lower: bool = False) -> str:
    """The text whose hash is signed.

    Tencent's documentation requires header values in lower case (`lower`), but no SDK does that.
    """

    def value(name: str) -> str:
        text = (host if name.lower() == "host" else request.headers.get(name.lower(), "")).strip()
        return text.lower() if lower else text

    lines = "".join(f"{name}:{value(name)}\n" for name in signed_headers.split(";"))
    payload = UNSIGNED.encode() if request.headers.get("x-tc-content-sha256") == UNSIGNED else request.body
    query = request.query if request.method == "GET" else ""
    return "\n".join([request.method, "/", query, lines, signed_headers, hashlib.sha256(payload).hexdigest()])


def tc3_key(secret_key: str, date: str, service: str) -> bytes:
    """The signing key of one day and service."""
    key = ("TC3" + secret_key).encode()
    for part in (date, service, "tc3_request"):
        key = _sha256_hmac(key, part)
    return key


def tc3_signature(key: bytes, timestamp: int, proof_scope: str, canonical: str) -> str:
    hashed = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return _sha256_hmac(key, "\n".join([ALGORITHM, str(timestamp), proof_scope, hashed])).hex()


def v1_string(method: str, host: str, parameters: Mapping[str, str]) -> str:
    """The text that v1 signs: all parameters except the signature, sorted, not encoded."""
    pairs = "&".join(
        f"{name.replace('_', '.')}={parameters[name]}" for name in sorted(parameters) if name != "Signature"
    )
    return f"{method}{host}/?{pairs}"


def v1_signature(secret_key: str, algorithm: str, text: str) -> str:
    digest = hmac.new(secret_key.encode(), text.encode("utf-8", "surrogateescape"), _V1[algorithm]).digest()
    return base64.b64encode(digest).decode()


def _form(request: Request) -> dict[str, str] | None:
    """Flattened parameters from the query of a GET or from a form; None if the body is not a form."""
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    if request.method == "GET":
        text = request.query
    elif is_form:
        text = request.body.decode("utf-8", "surrogateescape")
    else:
        return None
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="surrogateescape"))
    except ValueError as error:
        raise Refused("InvalidParameter", "The parameters of the request cannot be parsed.") from error


def _read_tc3(request: Request) -> Claim:
    headers = request.headers
    for name in ("X-TC-Action", "X-TC-Version", "X-TC-Timestamp"):
        if not headers.get(name.lower()):
            raise Refused(
                "MissingParameter", "The request is missing a required parameter: the header `{name}`.", name=name
            )
    parsed = _AUTHORIZATION.fullmatch(headers["authorization"].strip())
    if parsed is None or not {"content-type", "host"} <= set(parsed["headers"].lower().split(";")):
        raise Refused(
            "AuthFailure.InvalidAuthorization",
            "The header `Authorization` must be `{algorithm} Credential=SecretId/date/service/tc3_request, "
            "SignedHeaders=content-type;host, Signature=...`.",
            algorithm=ALGORITHM,
        )
    return Claim(
        secret_id=_secret_id(parsed["id"]),
        action=headers["x-tc-action"],
        version=headers["x-tc-version"],
        timestamp=_timestamp(headers["x-tc-timestamp"]),
        token=headers.get("x-tc-token", ""),
        region=headers.get("x-tc-region", ""),
        language=headers.get("x-tc-language", ""),
        parameters=_form(request),
        proof=Tc3Proof(parsed["date"], parsed["service"], parsed["headers"], parsed["signature"].lower()),
    )


def _read_v1(form: dict[str, str]) -> Claim:
    for name in ("Action", "Version", "Timestamp"):
        if not form.get(name):
            raise Refused("MissingParameter", "The request is missing a required parameter: `{name}`.", name=name)
    method = form.get("SignatureMethod") or "HmacSHA1"
    if method not in _V1:
        raise Refused("InvalidParameterValue", "`SignatureMethod` must be HmacSHA1 or HmacSHA256.")
    return Claim(
        secret_id=_secret_id(form["SecretId"]),
        action=form["Action"],
        version=form["Version"],
        timestamp=_timestamp(form["Timestamp"]),
        token=form.get("Token", ""),
        region=form.get("Region", ""),
        language=form.get("Language", ""),
        parameters=form,
        proof=V1Proof(method, form["Signature"]),
    )


def _secret_id(text: str) -> str:
    if not _SECRET_ID.fullmatch(text):
        raise Refused("AuthFailure.InvalidSecretId", "The SecretId is malformed.")
    return text


def _timestamp(text: str) -> int:
    if not _TIMESTAMP.fullmatch(text):
        raise Refused("InvalidParameterValue", "The timestamp must be UNIX time in whole seconds.")
    return int(text)


def _matches(claim: Claim, request: Request, secret_key: str, host: str) -> bool:
    proof = claim.proof
    if isinstance(proof, V1Proof):
        text = v1_string(request.method, host, claim.parameters or {})
        expected = v1_signature(secret_key, proof.method, text)
        return hmac.compare_digest(expected.encode(), proof.signature.encode("utf-8", "surrogateescape"))
    if proof.date != f"{datetime.fromtimestamp(claim.timestamp, UTC):%Y-%m-%d}":
        return False
    key = tc3_key(secret_key, proof.date, proof.service)
    scope = f"{proof.date}/{proof.service}/tc3_request"
    candidates = [
        tc3_signature(key, claim.timestamp, scope, canonical_request(request, proof.signed_headers, host, lower=lower))
        for lower in (False, True)
    ]
    return any([hmac.compare_digest(each, proof.signature) for each in candidates])


def _sha256_hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
