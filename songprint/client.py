"""An asynchronous client of the REST API: `pip install 'songprint[client]'`.

>>> import asyncio
>>> from songprint.client import Client
>>> async def main():
...     async with Client("http://127.0.0.1:8080", token="...") as songprint:
...         report = await songprint.identify("clip.mp3")
...         print([match["recording"]["title"] for match in report["matches"]])
>>> asyncio.run(main())  # doctest: +SKIP

The methods return the JSON of the API as typed dictionaries (`songprint.formats.schema`). Errors of the server raise
ApiError. Requests that the server refuses because it is busy (429 and 503) are repeated after the time that it names.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, cast

from songprint.errors import ApiError, MissingExtra
from songprint.formats import schema

if TYPE_CHECKING:
    import httpx

Source: TypeAlias = "str | Path | bytes | BinaryIO"  # a path, the content of a file, or an open binary file

PAGE = 500  # items of a list that are requested at once; the maximum of the server
WAIT = 30.0  # seconds for which one request waits for the end of a job
MOST_ATTEMPTS = 4  # of one request
LONGEST_PAUSE = 30.0  # seconds before a request is repeated; a server may name more


class Client:
    """A connection to a Songprint server. Use it in `async with`, or call `close`.

    Args:
        url: address of the server, such as "https://songprint.example.org".
        token: the token that `songprint keys create` prints; a server without keys needs none.
        timeout: seconds without any data after which a request fails.
        transport: an httpx transport, for tests against the application without a network.

    Raises MissingExtra without httpx.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        token: str = "",
        *,
        timeout: float = 90.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("the client needs httpx: pip install 'songprint[client]'") from error
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._connection_errors = httpx.TransportError

    async def identify(self, query: Source, *, top: int = 0, track: int | None = None) -> schema.Report:
        """Identify a query of up to two minutes. `matches` is empty if there is no match, and `reason` says why.

        `top` is the number of most probable matches that `candidates` lists even if they are below the threshold.
        """
        return cast(schema.Report, await self._send_file("/v1/identify", query, params=_given(top=top, track=track)))

    async def submit(self, recording: Source, **options: Any) -> schema.Job:
        """Upload a long recording and submit a job that scans it.

        Options are those of the REST API: kinds, track, find_unknown, callback, output, priority, session_id and
        session_context.
        """
        return cast(schema.Job, await self._send_file("/v1/jobs", recording, fields={"options": json.dumps(options)}))

    async def submit_url(self, url: str, **options: Any) -> schema.Job:
        """Submit a job that scans a recording which the server downloads. Options as in `submit`."""
        return cast(
            schema.Job, await self._request("POST", "/v1/jobs", json={"input": {"type": "url", "url": url}, **options})
        )

    async def job(self, job_id: str, *, wait: float = 0.0) -> schema.Job:
        """Return a job. With `wait`, return it once it has ended, or after that many seconds (at most 60)."""
        return cast(schema.Job, await self._request("GET", f"/v1/jobs/{job_id}", params=_given(wait=wait)))

    async def wait(self, job_id: str) -> schema.Job:
        """Wait until a job has ended, and return it."""
        while True:
            job = await self.job(job_id, wait=WAIT)
            if job["state"] in ("finished", "failed", "cancelled"):
                return job

    async def scan(self, recording: Source, **options: Any) -> schema.Timeline:
        """Scan a long recording: submit it, wait for the end, and return the timeline.

        Raises ApiError with the code of the job's error if it does not finish. `songprint.formats.objects` makes a
        `Timeline` of the result: `timeline_from_object(result)`.
        """
        job = await self.wait((await self.submit(recording, **options))["id"])
        if job["result"] is None:
            error = job["error"] or {"code": job["state"], "message": f"the job was {job['state']}"}
            raise ApiError(error["message"], status=0, code=error["code"])
        return cast(schema.Timeline, job["result"])

    async def jobs(self, *states: schema.State) -> AsyncIterator[schema.ListedJob]:
        """Yield the jobs in these states, by default all, the latest first."""
        async for job in self._items("/v1/jobs", {"state": list(states)}):
            yield cast(schema.ListedJob, job)

    async def cancel(self, job_id: str) -> schema.Job:
        """Cancel a waiting or running job."""
        return cast(schema.Job, await self._request("POST", f"/v1/jobs/{job_id}/cancel"))

    async def retry(self, job_id: str) -> schema.Job:
        """Queue a failed or cancelled job again."""
        return cast(schema.Job, await self._request("POST", f"/v1/jobs/{job_id}/retry"))

    async def export(self, job_id: str, format: str = "json", *, corrected: bool = False) -> str:
        """Return the timeline of a job in a format such as "srt"; `corrected` applies the reviewers' verdicts."""
        params = _given(format=format, corrected=corrected)
        return (await self._respond("GET", f"/v1/jobs/{job_id}/export", params=params)).text

    async def recordings(self, query: str = "", *, sort: str = "id") -> AsyncIterator[schema.Recording]:
        """Yield the recordings that contain every word of `query`, by default all."""
        async for recording in self._items("/v1/recordings", {"q": query, "sort": sort}):
            yield cast(schema.Recording, recording)

    async def recording(self, recording_id: int) -> schema.Recording:
        """Return a recording."""
        return cast(schema.Recording, await self._request("GET", f"/v1/recordings/{recording_id}"))

    async def add(self, recording: Source, **tags: Any) -> schema.Recording:
        """Add a recording and return it, also if it is in the library already. Tags override those of the file."""
        fields = {"metadata": json.dumps(tags)} if tags else {}
        added = await self._send_file("/v1/recordings", recording, fields=fields)
        return cast(schema.Recording, added["recording"])

    async def edit(self, recording_id: int, **changes: Any) -> schema.Recording:
        """Change tags and user fields: `edit(3, album="Pastel Blues", fields={"label": "Philips"})`."""
        return cast(schema.Recording, await self._request("PATCH", f"/v1/recordings/{recording_id}", json=changes))

    async def remove(self, recording_id: int) -> None:
        """Remove a recording."""
        await self._respond("DELETE", f"/v1/recordings/{recording_id}")

    async def covers(self, recording_id: int) -> list[schema.Match]:
        """Return the covers and duplicates of a recording, best first."""
        return cast(
            "list[schema.Match]", (await self._request("GET", f"/v1/recordings/{recording_id}/covers"))["items"]
        )

    async def link(self, recording_ids: list[int], work: str | None = None, *, original: int | None = None) -> str:
        """Link recordings of one song to a work, and return its name."""
        change = {"recordings": recording_ids, **_given(work=work, original=original)}
        return str((await self._request("PUT", "/v1/works", json=change))["work"])

    async def unlink(self, recording_id: int) -> None:
        """Remove a recording from its work."""
        await self._respond("DELETE", f"/v1/recordings/{recording_id}/work")

    async def duplicates(self) -> AsyncIterator[list[schema.Recording]]:
        """Yield groups of recordings with the same audio. The server searches while they are read."""
        async for group in self._items("/v1/duplicates", {}):
            yield cast("list[schema.Recording]", group["recordings"])

    async def stats(self) -> dict[str, Any]:
        """Return what the library contains, and the numbers of jobs and callbacks."""
        return await self._request("GET", "/v1/stats")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send_file(
        self,
        path: str,
        source: Source,
        *,
        params: Mapping[str, Any] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        with _opened(source) as (name, file):
            return await self._request("POST", path, params=params, data=fields, files={"file": (name, file)})

    async def _items(self, path: str, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of all pages."""
        after: dict[str, str] = {}
        while True:
            page = await self._request("GET", path, params={**params, "limit": PAGE, **after})
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            after = {"after": page["next"]}

    async def _request(self, method: Literal["GET", "POST", "PUT", "PATCH"], path: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await self._respond(method, path, **more)).json()
        return found

    async def _respond(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request, again while the server is busy. Raises ApiError unless the status is 2xx."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                response = await self._http.request(method, path, **more)
            except self._connection_errors as error:
                raise ApiError(
                    f"no response from {self._http.base_url}: {error}", status=0, code="no_response"
                ) from error
            if response.is_success:
                return response
            if response.status_code not in (429, 503) or attempt == MOST_ATTEMPTS:
                break
            await asyncio.sleep(min(LONGEST_PAUSE, _retry_after(response, attempt)))
            for _, file in more.get("files", {}).values():
                file.seek(0)
        raise _error(response)


@contextmanager
def _opened(source: Source) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the name of a file and the open file. Files that the caller opened stay open."""
    if isinstance(source, bytes):
        yield "query", io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield Path(source).name, file
    else:
        yield Path(str(getattr(source, "name", "query"))).name, source


def _given(**parameters: Any) -> dict[str, Any]:
    """Return the parameters that have a value."""
    return {name: value for name, value in parameters.items() if value not in (None, 0, False)}


def _retry_after(response: httpx.Response, attempt: int) -> float:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return 2.0 ** (attempt - 1)


def _error(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
        return ApiError(problem["detail"], status=response.status_code, code=problem["code"])
    except (ValueError, KeyError, TypeError):
        return ApiError(
            f"the server responded with status {response.status_code}", status=response.status_code, code=""
        )
