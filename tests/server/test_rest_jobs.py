"""Jobs over HTTP: submitting, following, exporting, verdicts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import toy
from support.serving import World, problem, serving, timeline_of

from songprint.config import StorageSettings
from songprint.formats import schema
from songprint.server.rest import models

PLACE = {"input": {"type": "url", "url": "https://media.example.org/mix.mp4"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    stores = tmp_path_factory.mktemp("stores")
    (stores / "music").mkdir()
    with serving(tmp_path_factory.mktemp("world"), storages=(StorageSettings(bucket="music", folder=stores),)) as world:
        yield world


def submitted(world: World, **more: object) -> dict:
    answer = world.client.post("/v1/jobs", json=PLACE | more)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_job_with_a_location_waits_for_a_worker(world):
    submitted_job = submitted(
        world,
        priority=3,
        callback={"url": "https://me.example.org/hook", "secret": "s3cret"},
        kinds=["recording"],
        session_context="mine",
    )
    job = world.server.jobs.get(submitted_job["id"])
    assert (job.state, job.priority, job.options["kinds"]) == ("waiting", 3, ["recording"])
    assert world.server.jobs.opened(job).options["callback"] == {
        "url": "https://me.example.org/hook",
        "secret": "s3cret",
        "style": "standard",
    }
    assert "s3cret" not in json.dumps(submitted_job)
    shown = world.client.get(f"/v1/jobs/{submitted_job['id']}").json()
    assert shown == submitted_job and shown.keys() == models.Job.__required_keys__
    world.server.jobs.cancel(job.id)


@pytest.mark.parametrize(
    ("wanted", "code", "reason"),
    [
        ({"input": {"type": "url", "url": "http://127.0.0.1/mix.mp3"}}, "input_refused", "input: "),
        ({"input": {"type": "url", "url": "http://localhost:80/mix.mp3"}}, "input_refused", "input: "),
        ({"input": {"type": "url", "url": "http://[::ffff:10.0.0.1]/mix.mp3"}}, "input_refused", "input: "),
        ({"input": {"type": "url", "url": "http://example.org:22/mix.mp3"}}, "input_refused", "port"),
        ({"input": {"type": "s3", "bucket": "no-such", "object": "a.mp3"}}, "input_refused", "no-such is in none"),
        ({"input": {"type": "s3", "bucket": "music", "object": "a/../../b.mp3"}}, "input_refused", "'..'"),
        ({"callback": {"url": "http://192.168.1.5:5000/"}}, "callback_refused", "callback: "),
        ({"callback": {"url": "http://169.254.169.254/latest"}}, "callback_refused", "callback: "),
        ({"output": {"type": "s3", "bucket": "music", "dir": "/../../etc/"}}, "output_refused", "'..'"),
        ({"output": {"type": "cos", "bucket": "no-such"}}, "output_refused", "no-such is in none"),
        ({"output": {"type": "cos", "bucket": "../etc"}}, "output_refused", "malformed"),
    ],
)
def test_what_a_worker_would_refuse_is_refused_at_once(world, wanted, code, reason):
    before = world.server.jobs.count()
    assert reason in problem(world.client.post("/v1/jobs", json=PLACE | wanted), 422, code)
    options = {name: value for name, value in wanted.items() if name != "input"}
    if options:
        files = {"file": ("mix.wav", world.wav(toy.song(3)))}
        problem(world.client.post("/v1/jobs", files=files, data={"options": json.dumps(options)}), 422, code)
        assert not any(world.server.inputs.folder.iterdir())
    assert world.server.jobs.count() == before


def test_a_job_can_contain_its_recording(world):
    sent = world.wav(toy.song(3))
    answer = world.client.post(
        "/v1/jobs",
        files={"file": ("../My mix.wav", sent)},
        data={"options": json.dumps({"session_id": "once", "priority": -5})},
    )
    assert answer.status_code == 202 and answer.json()["input"] == {"type": "file", "name": "My mix.wav"}
    job = world.server.jobs.get(answer.json()["id"])
    with open(job.input["path"], "rb") as file:
        assert file.read() == sent
    again = world.client.post("/v1/jobs", files={"file": ("x.wav", sent)}, data={"options": '{"session_id": "once"}'})
    problem(again, 409, "duplicate_session")
    assert again.json()["job_id"] == job.id
    assert len(list(world.server.inputs.folder.iterdir())) == 1  # the second upload was not kept
    assert list(world.server.uploads.folder.iterdir()) == []
    raw = world.client.post("/v1/jobs", content=sent, headers={"x-file-name": "My%20mix.wav"})
    assert raw.json()["input"]["name"] == "My mix.wav"
    for each in (job.id, raw.json()["id"]):
        world.server.jobs.cancel(each)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        "x",
        {"input": {"type": "file", "path": "/etc/passwd"}},
        {"input": {"type": "url", "url": "file:///etc/passwd"}},
        {"input": {"type": "url", "url": "http://\n"}},
        {"input": {"type": "s3", "bucket": "b"}},
        PLACE | {"priority": 11},
        PLACE | {"callback": {"url": "gopher://x"}},
        PLACE | {"kinds": []},
        PLACE | {"session_id": "x" * 51},
        PLACE | {"unknown": 1},
        PLACE | {"session_context": "a\0b"},
    ],
)
def test_invalid_jobs_are_refused_with_the_cause(world, wrong):
    assert "/docs" in problem(world.client.post("/v1/jobs", json=wrong), 422, "invalid_request")
    broken = world.client.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    problem(broken, 422, "invalid_request")
    problem(world.client.post("/v1/jobs", content=b""), 400, "no_file")


def test_too_many_waiting_jobs_are_refused(tmp_path):
    with serving(tmp_path, songs=0, max_waiting=2) as world:
        submitted(world), submitted(world)
        answer = world.client.post("/v1/jobs", json=PLACE)
        problem(answer, 429, "queue_full")
        assert answer.headers["retry-after"] == "60"


def test_jobs_are_listed_latest_first_without_results(world):
    ids = [world.finished(timeline_of(world)) for _ in range(3)]
    first = world.client.get("/v1/jobs?limit=2&state=finished").json()
    assert [each["id"] for each in first["items"]] == [ids[2], ids[1]]
    assert "result" not in first["items"][0]
    rest = world.client.get("/v1/jobs", params={"after": first["next"], "state": "finished"}).json()["items"]
    assert rest[0]["id"] == ids[0]
    problem(world.client.get("/v1/jobs?after=nobody"), 404, "job_not_found")
    problem(world.client.get("/v1/jobs/nobody"), 404, "job_not_found")


def test_an_unchanged_job_is_not_sent_again(world):
    job_id = world.finished(timeline_of(world))
    first = world.client.get(f"/v1/jobs/{job_id}")
    again = world.client.get(f"/v1/jobs/{job_id}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    world.client.post(f"/v1/jobs/{job_id}/segments/0/verdict", json={"verdict": "accept"})
    changed = world.client.get(f"/v1/jobs/{job_id}", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200


def test_a_job_is_cancelled_and_retried(world):
    job_id = submitted(world)["id"]
    assert world.client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    problem(world.client.post(f"/v1/jobs/{job_id}/cancel"), 409, "wrong_state")
    assert world.client.post(f"/v1/jobs/{job_id}/retry").json()["state"] == "waiting"
    problem(world.client.post(f"/v1/jobs/{job_id}/retry"), 409, "wrong_state")
    problem(world.client.get(f"/v1/jobs/{job_id}/export"), 409, "not_finished")
    assert [(each.action, each.subject) for each in world.server.audit.entries(limit=2)] == [
        ("jobs.retry", job_id),
        ("jobs.cancel", job_id),
    ]
    world.client.post(f"/v1/jobs/{job_id}/cancel")


def test_a_waiting_request_returns_when_the_job_ends(world):
    job_id = submitted(world)["id"]
    assert world.client.get(f"/v1/jobs/{job_id}?wait=0.5").json()["state"] == "waiting"
    world.server.jobs.cancel(job_id)
    assert world.client.get(f"/v1/jobs/{job_id}?wait=60").json()["error"]["code"] == "cancelled"
    problem(world.client.get(f"/v1/jobs/{job_id}?wait=1e9"), 422, "invalid_request")


def test_a_running_job_shows_its_timeline_so_far(world):
    job_id, jobs = submitted(world)["id"], world.server.jobs
    claimed = jobs.claim("worker")
    while claimed.id != job_id:
        claimed = jobs.claim("worker")
    jobs.heartbeat(claimed, 0.5, timeline_of(world))
    job = world.client.get(f"/v1/jobs/{job_id}").json()
    assert job["result"] is None and job["partial"]["segments"][0]["recording"]["title"] == "Song 00"
    assert "partial" not in world.client.get("/v1/jobs?limit=1").json()["items"][0]
    problem(world.client.get(f"/v1/jobs/{job_id}/export"), 409, "not_finished")
    jobs.cancel(job_id)


def test_events_report_every_state_until_the_end(world):
    job_id = world.finished(timeline_of(world))
    answer = world.client.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    event = next(part for part in answer.text.split("\n\n") if part.startswith("event: job"))
    data = json.loads(event.split("data: ")[1])
    assert data["state"] == "finished" and "result" not in data


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "audacity", "cue", "srt", "vtt", "tracklist"])
def test_a_timeline_is_exported_in_every_format(world, format):
    job_id = world.finished(timeline_of(world))
    answer = world.client.get(f"/v1/jobs/{job_id}/export?format={format}")
    assert answer.status_code == 200 and "Song 00" in answer.text
    assert 'filename="mix.mp3.' in answer.headers["content-disposition"]


def test_verdicts_are_stored_and_correct_the_timeline(world):
    job_id = world.finished(timeline_of(world))
    address = f"/v1/jobs/{job_id}/segments"
    assert world.client.post(f"{address}/0/verdict", json={"verdict": "accept", "note": "sure"}).status_code == 200
    verdict = world.client.post(f"{address}/0/verdict", json={"verdict": "reject"}).json()
    assert verdict.keys() == schema.Verdict.__required_keys__
    world.client.post(f"{address}/1/verdict", json={"verdict": "correct", "recording": 4})
    verdicts = world.client.get(f"/v1/jobs/{job_id}").json()["verdicts"]
    assert [(each["position"], each["verdict"], each["recording_id"]) for each in verdicts] == [
        (0, "reject", None),
        (1, "correct", 4),
    ]
    corrected = world.client.get(f"/v1/jobs/{job_id}/export?format=json&corrected=true").json()
    (segment,) = corrected["segments"]
    assert (segment["recording"]["id"], segment["confidence"], segment["start"]) == (4, 100.0, 10.0)
    assert len(world.client.get(f"/v1/jobs/{job_id}/export?format=json").json()["segments"]) == 2
    assert world.client.delete(f"{address}/0/verdict").status_code == 204
    problem(world.client.delete(f"{address}/0/verdict"), 404, "no_verdict")
    problem(world.client.post(f"{address}/2/verdict", json={"verdict": "accept"}), 404, "not_found")
    problem(world.client.post(f"{address}/0/verdict", json={"verdict": "correct"}), 422, "invalid_request")
    assert [(each.action, each.subject.partition(" ")[2]) for each in world.server.audit.entries(limit=4)] == [
        ("verdicts.take_back", "segment 0"),
        ("verdicts.correct", "segment 1: 4"),
        ("verdicts.reject", "segment 0"),
        ("verdicts.accept", "segment 0"),
    ]
    unknown = world.client.post(f"{address}/0/verdict", json={"verdict": "correct", "recording": 99999})
    problem(unknown, 404, "recording_not_found")


def test_a_named_gap_is_added_to_the_library_and_found_afterwards(world):
    programme = np.concatenate([toy.song(0), toy.song(61), toy.song(1)])
    sent = world.client.post("/v1/jobs", files={"file": ("mix.wav", world.wav(programme))}).json()["id"]
    claimed = world.server.jobs.claim("a test")
    assert claimed.id == sent
    world.server.jobs.finish(claimed, timeline_of(world), 15.0)

    assert world.client.get(f"/v1/jobs/{sent}/audio").content == world.wav(programme)
    peaks = world.client.get(f"/v1/jobs/{sent}/peaks?points=30&start=5&end=10").json()
    assert len(peaks["peaks"]) == 30 and 0.4 < max(peaks["peaks"]) < 0.6
    assert (peaks["start"], peaks["end"]) == (5.0, 10.0)

    named = world.client.post(f"/v1/jobs/{sent}/gaps/0/recording", json={"title": "Sixty-one", "artists": ["Me"]})
    assert named.status_code == 201, named.text
    match = world.client.post("/v1/identify", content=world.clip(61)).json()["matches"][0]
    assert match["recording"]["id"] == named.json()["recording"]["id"] and match["recording"]["title"] == "Sixty-one"
    corrected = world.client.get(f"/v1/jobs/{sent}/export?corrected=true").json()
    assert [each["recording"]["title"] for each in corrected["segments"]] == ["Song 00", "Sixty-one", "Song 01"]
    assert corrected["gaps"] == []
    wrong = world.client.post(f"/v1/jobs/{sent}/gaps/0/recording", json={"start": 1, "end": 9})
    assert "lie in the gap" in problem(wrong, 422, "invalid_request")


def test_a_verdict_can_assign_a_known_recording_to_a_gap_and_be_withdrawn(world):
    job_id = world.finished(timeline_of(world))
    address = f"/v1/jobs/{job_id}/gaps/0/verdict"
    problem(world.client.post(address, json={"verdict": "reject"}), 422, "invalid_request")
    verdict = world.client.post(address, json={"verdict": "correct", "recording": 3}).json()
    assert (verdict["part"], verdict["position"], verdict["recording_id"]) == ("gap", 0, 3)
    corrected = world.client.get(f"/v1/jobs/{job_id}/export?corrected=true").json()
    assert [each["recording"]["id"] for each in corrected["segments"]][1] == 3 and corrected["gaps"] == []
    assert world.client.delete(address).status_code == 204
    assert world.client.get(f"/v1/jobs/{job_id}").json()["verdicts"] == []


def test_the_audio_of_a_deleted_input_is_not_found(world):
    job_id = world.finished(timeline_of(world))
    for what in ("audio", "peaks"):
        assert "24 hours" in problem(world.client.get(f"/v1/jobs/{job_id}/{what}"), 404, "no_audio")


def test_callbacks_are_listed_and_resent(world):
    options = {"callback": {"url": "https://me.example.org/", "style": "standard"}}
    job_id = world.finished(timeline_of(world), options=options)
    (delivery,) = world.client.get(f"/v1/jobs/{job_id}/deliveries").json()["items"]
    assert delivery["state"] == "waiting" and delivery.keys() == schema.Delivery.__required_keys__
    assert world.client.post(f"/v1/jobs/{job_id}/deliveries").status_code == 202
    listed = world.client.get("/v1/deliveries?state=waiting&limit=1").json()
    assert listed["items"][0]["id"] == delivery["id"]
    problem(world.client.get("/v1/deliveries?after=nothing"), 404, "not_found")
    silent = world.finished(timeline_of(world))
    problem(world.client.post(f"/v1/jobs/{silent}/deliveries"), 404, "no_callback")


def test_usage_counts_jobs_and_queries(world):
    world.finished(timeline_of(world))
    (before,) = world.client.get("/v1/usage").json()["items"]
    for _ in range(2):
        world.client.post("/v1/identify", content=world.clip(4))  # the second one repeats the first
    (row,) = world.client.get("/v1/usage").json()["items"]
    assert (row["jobs"], row["queries"]) == (before["jobs"], before["queries"] + 1)
    assert row["seconds"] >= 18.5 and row["minutes"] >= 1 and row.keys() == schema.Used.__required_keys__
    table = world.client.get("/v1/usage.csv?price=0.44").text.splitlines()
    assert table[0] == "day,key,jobs,queries,seconds,minutes,cost" and len(table) == 2
    assert world.client.get("/v1/usage?until=2020-01-01").json()["items"] == []
    problem(world.client.get("/v1/usage?since=yesterday"), 422, "invalid_request")
