"""What the page uses besides the REST API: its files, inboxes for callbacks, pictures of covers."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from support import toy
from support.serving import serving

from songprint.server.operations import MOST_PIXELS, reduced
from songprint.server.web import assets, inbox
from songprint.server.web.inbox import Inboxes


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("world")) as world:
        yield world


def test_the_root_serves_the_page_to_browsers_and_the_api_to_tencent_clients(world):
    start = world.client.get("/", headers={"accept": "text/html"})
    assert start.status_code == 200 and "<title>Songprint</title>" in start.text
    assert start.headers["content-type"].startswith("text/html")
    program = world.client.get("/?Action=DescribeTasks&Signature=x")
    assert program.json()["Response"]["Error"]["Code"]


def test_docs_redirects_to_the_api_explorer(world):
    answer = world.client.get("/docs", follow_redirects=False)
    assert answer.status_code == 307 and answer.headers["location"] == "./#/explorer/rest"
    assert world.client.get("/docs").text.startswith("<!doctype html>")


def test_every_file_of_the_page_is_served_and_every_import_exists(world):
    names = [path.relative_to(assets.FOLDER).as_posix() for path in assets.FOLDER.rglob("*") if path.is_file()]
    assert "app.js" in names and "audio/worklet.js" in names
    for name in names:
        answer = world.client.get(f"/page/{name}")
        assert answer.status_code == 200 and answer.content == (assets.FOLDER / name).read_bytes()
        tag = answer.headers["etag"]
        again = world.client.get(f"/page/{name}", headers={"if-none-match": tag})
        assert again.status_code == 304 and not again.content
    for path in assets.FOLDER.rglob("*.js"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(("import", "}")) and ' from "' in line:
                named = (path.parent / line.partition(' from "')[2].rstrip('";')).resolve()
                assert named.is_file(), f"{path.name} imports {named.name}"


def test_the_page_loads_nothing_from_other_sites_and_builds_no_html_from_text():
    for path in assets.FOLDER.rglob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, f"{path.name} has {word}"
        if path.suffix in (".html", ".css", ".svg"):
            assert "http://" not in text and "https://" not in text


def test_an_inbox_keeps_callbacks_for_its_owner(world):
    made = world.client.post("/v1/explorer/inbox").json()
    assert made["url"].endswith(made["read"])
    sent = world.client.post(
        f"/{made['read']}",
        content=b'{"EventType": "WorkflowTask"}',
        headers={"content-type": "application/json", "webhook-id": "msg_1", "x-private": "not shown"},
    )
    assert sent.status_code == 204
    (item,) = world.client.get(f"/{made['read']}").json()["items"]
    assert item["body"] == '{"EventType": "WorkflowTask"}' and item["headers"]["webhook-id"] == "msg_1"
    assert "x-private" not in item["headers"]
    assert world.client.post("/v1/explorer/inbox/nobody-has-it", content=b"{}").status_code == 404
    assert world.client.post(f"/{made['read']}", content=bytes(inbox.MOST_BYTES + 1)).status_code == 413


def test_inboxes_are_private_and_old_ones_are_dropped():
    boxes = Inboxes()
    first = boxes.create("anna")
    assert boxes.read(first, "anna") == [] and boxes.read(first, "ben") is None
    for _ in range(inbox.MOST_INBOXES):
        boxes.create("ben")
    assert boxes.read(first, "anna") is None and not boxes.put(first, {}, b"")
    last = boxes.create("anna")
    for number in range(inbox.MOST_RECEIVED + 3):
        boxes.put(last, {}, str(number).encode())
    assert [each.body for each in boxes.read(last, "anna")][-1] == str(inbox.MOST_RECEIVED + 2)
    assert len(boxes.read(last, "anna")) == inbox.MOST_RECEIVED


def test_callbacks_to_this_server_are_allowed_and_to_no_other_local_machine(world):
    settings = world.library.store.settings
    assert inbox.allowed(settings).server.allow_callbacks == (*settings.server.allow_callbacks, "127.0.0.1:8080")


def test_a_similarity_picture_is_small_and_keeps_thin_lines(random):
    alike = random.uniform(0, 0.2, (900, 1300)).astype(np.float32)
    alike[np.arange(900), np.arange(900)] = 1.0
    picture = reduced(alike)
    assert max(picture.shape) <= MOST_PIXELS and picture.dtype == np.uint8
    diagonal = picture[np.arange(picture.shape[0] - 1), np.arange(picture.shape[0] - 1)]
    assert (diagonal == 255).all() and np.median(picture) < 100


def test_two_recordings_of_the_library_are_compared_as_a_picture(world):
    one, other = (
        world.client.post("/v1/recordings", content=world.wav(toy.tune(seed))).json()["recording"]["id"]
        for seed in (1, 2)
    )
    path = f"/v1/recordings/{one}/similarity?recording={other}"
    picture = world.client.get(path).json()
    assert len(base64.b64decode(picture["pixels"])) == picture["width"] * picture["height"]
    assert picture["query"]["start"] == picture["reference"]["start"] == 0
    assert world.client.get(f"/v1/recordings/{one}/similarity?recording=99999").status_code == 404
