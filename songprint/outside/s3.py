"""Requests to object stores with an S3 interface, signed with AWS's Signature version 4, which COS takes too.

Songprint only gets and puts single objects. A client library would bring its own transport, without the rules of
`fetch`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    """The key of an object store."""

    access_key: str
    secret_key: str = field(repr=False)


def object_url(endpoint: str, bucket: str, name: str, *, in_path: bool) -> str:
    """The URL of an object. The bucket is a part of the host name or the first part of the path.

    >>> object_url("https://cos.ap-guangzhou.myqcloud.com", "music-125", "a b/ü.mp3", in_path=False)
    'https://music-125.cos.ap-guangzhou.myqcloud.com/a%20b/%C3%BC.mp3'
    """
    parts = urlsplit(endpoint)
    host, path = (parts.netloc, f"/{bucket}") if in_path else (f"{bucket}.{parts.netloc}", "")
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}{path}/{quote(name, safe='/-._~')}"


def signed(
    method: str,
    url: str,
    body: bytes,
    region: str,
    credentials: Credentials,
    now: datetime,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a request, including `Authorization`. `now` is in UTC; the URL has no query."""
    parts = urlsplit(url)
    moment, hashed = f"{now:%Y%m%dT%H%M%SZ}", hashlib.sha256(body).hexdigest()
    sent = {**(headers or {}), "x-amz-content-sha256": hashed, "x-amz-date": moment}
    lines = {name.lower(): value.strip() for name, value in {**sent, "host": parts.netloc}.items()}
    names = ";".join(sorted(lines))
    listed = [f"{name}:{lines[name]}" for name in sorted(lines)]
    canonical = "\n".join([method, parts.path, "", *listed, "", names, hashed])
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    text = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return sent | {
        "Authorization": f"{ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={names},"
        f"Signature={signature}"
    }
