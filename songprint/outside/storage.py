"""Object storage: buckets that are folders of this machine, or have an S3 interface.

A location is `{"type": "cos" or "s3", "bucket", "region", "object"}`, from a request. An optional `secret_id` and
`secret_key` take precedence over those of the settings. The settings map buckets to stores.

Requests are signed with AWS's Signature version 4, which COS accepts too. Songprint only gets and puts single objects,
and a client library would bring its own transport, without the rules of `fetch`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import quote, urlsplit

from songprint.config import ServerSettings, StorageSettings
from songprint.errors import FetchError
from songprint.outside import fetch
from songprint.outside.fetch import OnProgress, Rules

Location = Mapping[str, object]

AWS = StorageSettings(endpoint="https://s3.{region}.amazonaws.com")  # for requests with their own key

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)  # becomes a part of a host name
_LONGEST_NAME = 1024  # bytes, the limit of S3
_COPIED_BYTES = 1 << 20
_ANY_PORT = (range(1, 65536),)
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    """The key of an object store."""

    access_key: str
    secret_key: str = field(repr=False)


class Storage:
    """The object stores of the settings. `rules` replace those of inputs, in tests."""

    def __init__(self, settings: ServerSettings, rules: Rules | None = None) -> None:
        self._stores = settings.storages
        self._rules = rules or Rules.of_inputs(settings)

    def has_bucket(self, location: Location) -> bool:
        """Whether a bucket may exist, without a request to a server."""
        store = self._store(location)
        if store is None or not is_bucket(str(location["bucket"])):
            return False
        return store.folder is None or (store.folder / str(location["bucket"])).is_dir()

    def read(
        self,
        location: Location,
        target: Path,
        *,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Copy an object into the file `target`. On FetchError, which gives the reason, no file is left."""
        store, name = self._found(location), object_name(str(location["object"]))
        if store.folder is not None:
            path = _inside(store.folder, str(location["bucket"]), name)
            _copy(path, target, self._rules.max_bytes, on_progress, stop)
            return
        url = self._url(store, location, name)
        headers = self._headers("GET", url, b"", store, location)
        fetch.download(url, target, self._rules_of(store, url), headers=headers, on_progress=on_progress, stop=stop)

    def write(self, location: Location, key: str, content: bytes) -> None:
        """Write an object into the bucket of a location. It replaces an existing one."""
        store, name = self._found(location), object_name(key)
        if store.folder is not None:
            _put(_inside(store.folder, str(location["bucket"]), name), content)
            return
        url = self._url(store, location, name)
        headers = self._headers("PUT", url, content, store, location)
        rules = replace(self._rules_of(store, url), timeout=self._rules.read_timeout)
        status = fetch.send("PUT", url, content, headers, rules).status
        if not 200 <= status < 300:
            raise FetchError(f"the store answers with status {status}", "input_not_found", retry=status >= 500)

    def _store(self, location: Location) -> StorageSettings | None:
        bucket, region = str(location["bucket"]), str(location.get("region") or "")
        for store in self._stores:
            if fnmatchcase(bucket, store.bucket) and fnmatchcase(region, store.region):
                return store
        return AWS if location["type"] == "s3" and location.get("secret_id") else None

    def _found(self, location: Location) -> StorageSettings:
        bucket = str(location["bucket"])
        if not is_bucket(bucket):
            raise FetchError("the name of the bucket is not one that can exist", "input_refused")
        store = self._store(location)
        if store is None:
            raise FetchError(f"the bucket {bucket} is in none of this server's stores", "input_not_found")
        return store

    def _url(self, store: StorageSettings, location: Location, name: str) -> str:
        region = str(location.get("region") or "")
        if "{region}" in store.endpoint and not _REGION.fullmatch(region):
            raise FetchError("the region of the bucket is not one that can exist", "input_refused")
        endpoint = store.endpoint.replace("{region}", region)
        return object_url(endpoint, str(location["bucket"]), name, in_path=store.addressing == "path")

    def _headers(
        self, method: str, url: str, body: bytes, store: StorageSettings, location: Location
    ) -> dict[str, str]:
        access = str(location.get("secret_id") or store.access_key)
        secret = str(location.get("secret_key") or "") if location.get("secret_id") else store.secret_key
        if not access:
            return {}  # a public bucket
        region = str(location.get("region") or "us-east-1")
        return signed(method, url, body, region, Credentials(access, secret), datetime.now(UTC))

    def _rules_of(self, store: StorageSettings, url: str) -> Rules:
        """Allow the host of a store in the settings, not that of AWS. A signature is valid for one host only."""
        host = urlsplit(url).hostname or ""
        allowed = self._rules.allow_hosts if store is AWS else (*self._rules.allow_hosts, host)
        return replace(self._rules, allow_hosts=allowed, ports=_ANY_PORT, max_redirects=0)


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
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return sent | {
        "Authorization": f"{_ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={names},"
        f"Signature={signature}"
    }


def is_bucket(name: str) -> bool:
    """Whether a bucket can have this name, which is also a folder name and a part of a host name.

    >>> is_bucket("music-1250000000"), is_bucket("../etc")
    (True, False)
    """
    return bool(_BUCKET.fullmatch(name)) and ".." not in name


def object_name(text: str) -> str:
    """The name of an object without leading slashes. FetchError for a name that leads out of the bucket.

    >>> object_name("/a/song.mp3")
    'a/song.mp3'
    """
    name = text.lstrip("/")
    parts = name.split("/")
    if not name or len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
        raise FetchError(f"the name of the object must have 1 to {_LONGEST_NAME} bytes", "input_refused")
    if {".", "..", ""} & set(parts) or any(character in name for character in "\\\0\r\n"):
        raise FetchError("the name of the object holds '.', '..', '//' or a backslash", "input_refused")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise FetchError("the name of the object is no text", "input_refused") from error
    return name


def _inside(folder: Path, bucket: str, name: str) -> Path:
    """The file of an object. Links are resolved, and it must lie in its bucket."""
    root = (folder / bucket).resolve()
    path = (root / name).resolve()
    if not root.is_dir():
        raise FetchError(f"there is no bucket {bucket}", "input_not_found")
    if root.parent != folder.resolve() or root not in path.parents:
        raise FetchError("the name of the object leads out of its bucket", "input_refused")
    return path


def _copy(path: Path, target: Path, most: int, on_progress: OnProgress | None, stop: threading.Event | None) -> None:
    done = 0
    try:
        if not path.is_file():
            raise FetchError("there is no such object in the bucket", "input_not_found")
        size = path.stat().st_size
        if size > most:
            raise FetchError(f"the input is larger than the {most} bytes that this server accepts", "input_too_large")
        with path.open("rb") as source, target.open("wb") as copy:
            while piece := source.read(_COPIED_BYTES):
                copy.write(piece)
                done += len(piece)
                if on_progress is not None:
                    on_progress(done, size)
                if stop is not None and stop.is_set():
                    raise FetchError("the download was stopped", "cancelled")
    except OSError as error:
        target.unlink(missing_ok=True)
        ours = error.filename is None or Path(error.filename) == target
        raise FetchError(
            f"the object cannot be read: {error.strerror}", "internal" if ours else "input_not_found", retry=ours
        ) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _put(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
            part = Path(file.name)
            file.write(content)
        part.replace(path)
    except OSError as error:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part)
        raise FetchError(f"the object cannot be written: {error.strerror}", "internal", retry=True) from error
