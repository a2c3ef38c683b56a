"""The asynchronous client of the REST API, against the application itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from support import asgi, toy
from support.serving import World, serving, timeline_of

httpx = pytest.importorskip("httpx")

from songprint import client
from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.client import Client
from songprint.errors import ApiError
from songprint.formats.objects import timeline_from_object


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("client")) as world:
        yield world


def connected(world: World, use: Callable[[Client], Coroutine[Any, Any, Any]], **more: Any) -> Any:
    """Run a coroutine with a client of the application."""

    async def run() -> Any:
        transport = httpx.ASGITransport(world.client.app, client=("127.0.0.1", 5000))
        async with Client("http://localhost:8080", transport=transport, **more) as songprint:
            return await use(songprint)

    return asgi.run(run())


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def test_queries_are_identified_from_paths_files_and_bytes(world):
    path = toy.write(world.folder / "query.wav", toy.song(1)[8000:36000])

    async def use(songprint: Client) -> list[Any]:
        with open(path, "rb") as file:
            opened = await songprint.identify(file, top=2)
        return [await songprint.identify(path), await songprint.identify(path.read_bytes()), opened]

    for report in connected(world, use):
        assert report["matches"][0]["recording"]["title"] == "Song 01"
    assert [each["source"] for each in connected(world, use)] == ["query.wav", "query", "query.wav"]


def test_recordings_are_listed_on_all_pages_edited_added_and_removed(world, monkeypatch):
    monkeypatch.setattr(client, "PAGE", 2)

    async def use(songprint: Client) -> None:
        assert [each["title"] for each in await listed(songprint.recordings(sort="title"))] == [
            f"Song 0{number}" for number in range(5)
        ]
        [found] = await listed(songprint.recordings("song 03"))
        edited = await songprint.edit(found["id"], album="New", fields={"label": "Verve"})
        assert (edited["album"], edited["fields"]) == ("New", {"label": "Verve"})
        assert await songprint.recording(found["id"]) == edited
        added = await songprint.add(world.wav(toy.song(11)), title="Added", artists=["One", "Two"])
        assert (added["title"], added["artists"]) == ("Added", ["One", "Two"])
        assert await songprint.add(world.wav(toy.song(11))) == await songprint.recording(added["id"])
        assert await songprint.link([found["id"], added["id"]], "A song") == "A song"
        await songprint.unlink(found["id"])
        assert await songprint.covers(added["id"]) == []
        assert await listed(songprint.duplicates()) == []
        assert (await songprint.stats())["recordings"] == 6
        await songprint.remove(added["id"])
        with pytest.raises(ApiError, match=f"No recording {added['id']}") as raised:
            await songprint.recording(added["id"])
        assert (raised.value.status, raised.value.code) == (404, "recording_not_found")

    connected(world, use)


def test_jobs_are_submitted_listed_cancelled_and_exported(world):
    finished = world.finished(timeline_of(world))

    async def use(songprint: Client) -> None:
        job = await songprint.submit(world.clip(2), session_context="show", kinds=["recording"])
        assert (job["state"], job["session_context"]) == ("waiting", "show")
        assert (await songprint.submit_url("https://example.org/mix.mp3"))["input"]["type"] == "url"
        assert (await songprint.cancel(job["id"]))["state"] == "cancelled"
        assert [each["id"] for each in await listed(songprint.jobs("cancelled"))] == [job["id"]]
        assert (await songprint.retry(job["id"]))["state"] == "waiting"
        assert (await songprint.wait(finished))["state"] == "finished"
        assert "-->" in await songprint.export(finished, "srt")
        timeline = timeline_from_object((await songprint.job(finished))["result"])
        assert [row["title"] for row in timeline.to_records() if row["title"]] == ["Song 00", "Song 01"]

    connected(world, use)


def test_a_scan_returns_the_timeline_or_raises_the_error_of_the_job(world):
    async def end(state: str) -> None:
        while not (job := await asyncio.to_thread(world.server.jobs.claim, "a test")):
            await asyncio.sleep(0.02)
        if state == "finished":
            world.server.jobs.finish(job, timeline_of(world), 15.0)
        else:
            world.server.jobs.fail(job, "input_unreadable", "it is no audio", retry=False)

    async def use(songprint: Client) -> None:
        for waiting in await listed(songprint.jobs("waiting")):
            await songprint.cancel(waiting["id"])
        _, timeline = await asyncio.gather(end("finished"), songprint.scan(world.clip(3)))
        assert [each["recording"]["title"] for each in timeline["segments"]] == ["Song 00", "Song 01"]
        with pytest.raises(ApiError, match="it is no audio") as raised:
            await asyncio.gather(end("failed"), songprint.scan(world.clip(4)))
        assert raised.value.code == "input_unreadable"

    connected(world, use)


def test_a_token_is_sent_and_a_wrong_one_is_an_error(tmp_path):
    with serving(tmp_path, songs=1) as world:
        database = world.library.store.catalog.database
        token = Keys(database, Vault(database, world.library.path)).create("client", "identify").token
        assert connected(world, lambda songprint: songprint.stats(), token=token)["recordings"] == 1
        with pytest.raises(ApiError) as raised:
            connected(world, lambda songprint: songprint.stats(), token="wrong")
        assert raised.value.status == 401


def test_a_busy_server_is_asked_again_with_the_whole_file(monkeypatch):
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.0)
    bodies: list[bytes] = []

    def respond(request: Any) -> Any:
        bodies.append(request.read())
        if len(bodies) < 3:
            return httpx.Response(503, headers={"retry-after": "7"}, json={"detail": "Busy", "code": "busy"})
        return httpx.Response(200, json={"matches": []})

    async def use() -> Any:
        async with Client(transport=httpx.MockTransport(respond)) as songprint:
            return await songprint.identify(b"the content")

    assert asgi.run(use()) == {"matches": []}
    assert len(bodies) == 3 and all(b"the content" in body for body in bodies)


@pytest.mark.parametrize("status", [503, 500])
def test_errors_name_the_status_and_no_response_is_an_error(monkeypatch, status):
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.0)

    async def use(respond: Callable[[Any], Any]) -> None:
        async with Client(transport=httpx.MockTransport(respond)) as songprint:
            await songprint.stats()

    def refuse(request: Any) -> Any:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(ApiError, match=f"status {status}"):
        asgi.run(use(lambda request: httpx.Response(status, text="<html>")))
    with pytest.raises(ApiError, match=r"no response from http://127\.0\.0\.1:8080.*refused"):
        asgi.run(use(refuse))


def test_every_method_has_types_and_a_description():
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            assert method.__doc__ and "return" in method.__annotations__, name
