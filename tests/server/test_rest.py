"""The REST API: identifying queries, managing the library, errors, metrics."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from support import soundfiles, toy
from support.serving import problem, serving

from songprint.formats import schema
from songprint.processes.pool import LimitExceeded
from songprint.server import operations
from songprint.server.state import RECORDINGS


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("world")) as world:
        yield world


def test_a_query_is_identified_at_once(world):
    answer = world.client.post("/v1/identify", content=world.clip(3))
    assert answer.status_code == 200
    (match,) = answer.json()["matches"]
    assert match["recording"]["title"] == "Song 03"
    assert match["reference"]["start"] == pytest.approx(1.0, abs=0.3)
    assert match["confidence"] > 50


def test_a_query_can_be_part_of_a_form(world):
    answer = world.client.post("/v1/identify?top=3", files={"file": ("../../my clip.wav", world.clip(2))})
    assert answer.json()["matches"][0]["recording"]["title"] == "Song 02"
    assert answer.json()["source"] == "my clip.wav"


def test_one_audio_track_of_a_query_can_be_selected(world, tmp_path):
    path = soundfiles.write_tracks(tmp_path / "film.mkv", [toy.song(1), toy.song(2)], toy.SAMPLE_RATE)
    titles = {}
    for query in ("", "?track=2"):
        matches = world.client.post(f"/v1/identify{query}", content=path.read_bytes()).json()["matches"]
        titles[query] = [(match["recording"]["title"], match["track"]) for match in matches]
    assert sorted(titles[""]) == [("Song 01", 1), ("Song 02", 2)]
    assert titles["?track=2"] == [("Song 02", 2)]


def test_unknown_music_has_no_match_and_a_reason(world):
    report = world.client.post("/v1/identify", content=world.clip(4711)).json()
    assert report["matches"] == [] and report["reason"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"hello, I am no music",
        bytes(1000),
        b"RIFF\xff\xff\xff\x7fWAVE" + bytes(50),
        b"OggS" + bytes(100),
        b"\x00\x00\x00\x20ftypM4A " + bytes(40),
    ],
)
def test_input_that_is_not_audio_is_refused_without_server_paths(world, sent):
    answer = world.client.post("/v1/identify", content=sent)
    assert "Cannot read upload" in problem(answer, 422, "unreadable_audio")
    assert str(world.folder) not in answer.text


def test_very_short_queries_get_a_report_without_matches(world):
    for samples in (1, 2, 100):
        answer = world.client.post("/v1/identify", content=world.wav(toy.song(1)[:samples]))
        assert answer.status_code == 200 and answer.json()["matches"] == [], answer.text
    silence = world.client.post("/v1/identify", content=world.wav(np.zeros(80000, np.float32)))
    assert silence.json()["matches"] == [] and silence.json()["reason"]


def test_too_large_and_too_long_queries_are_refused_with_an_alternative(tmp_path):
    with serving(tmp_path, songs=1, max_clip_bytes=100_000, max_clip_duration=3.0) as world:
        long = world.client.post("/v1/identify", content=world.clip(0))
        assert "POST /v1/jobs" in problem(long, 413, "too_long")
        large = world.client.post("/v1/identify", content=bytes(200_000))
        assert "0 MB" in problem(large, 413, "too_large")
        unannounced = world.client.post("/v1/identify", content=(bytes(50_000) for _ in range(5)))
        problem(unannounced, 413, "too_large")
        assert list(world.server.uploads.folder.iterdir()) == []


def test_recordings_that_are_too_long_are_refused_before_they_are_encoded(tmp_path):
    with serving(tmp_path, songs=1, max_recording_duration=60.0) as world:
        long = world.client.post("/v1/recordings", content=world.wav(toy.silence(61)))
        assert "max_recording_duration" in problem(long, 413, "too_long")
        assert world.client.post("/v1/recordings", content=world.wav(toy.song(9, 59.0))).status_code == 201
        assert len(list((world.library.path / RECORDINGS).iterdir())) == 1
        assert list(world.server.uploads.folder.iterdir()) == []


def test_uploads_are_deleted_after_the_request(world):
    world.client.post("/v1/identify", content=world.clip(3))
    world.client.post("/v1/identify", content=b"no music")
    world.client.post("/v1/identify", files={"file": ("a.wav", b"1"), "other": ("b.wav", b"2")})
    assert list(world.server.uploads.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"--b\r\n"),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nabc',
        ),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--a--\r\n"),
        ("multipart/form-data; boundary=" + "a" * 300, b"--a"),
    ],
)
def test_a_malformed_form_is_a_client_error_and_one_line_of_the_debug_log(world, kind, body, caplog):
    for logger in ("", "songprint"):  # tests of the command line set the level of the latter
        caplog.set_level("DEBUG", logger)
    problem(world.client.post("/v1/identify", content=body, headers={"content-type": kind}), 400, "bad_form")
    lines = [(each.name.partition(".")[0], each.levelname) for each in caplog.records if " form: " in each.getMessage()]
    assert lines == [("songprint", "DEBUG")]
    assert not [each for each in caplog.records if each.name.startswith("python_multipart")]


def test_a_recording_is_found_until_it_is_removed(world):
    query = world.clip(50)
    assert world.client.post("/v1/identify", content=query).json()["matches"] == []
    added = world.add(50, "Nina - Fifty.wav", album="Numbers", artists=["Nina", "Simone"], year="1965")
    assert (added["title"], added["artists"], added["album"], added["year"]) == (
        "Fifty",
        ["Nina", "Simone"],
        "Numbers",
        1965,
    )
    named = world.client.post("/v1/identify", content=query).json()["matches"][0]["recording"]
    assert named["id"] == added["id"]
    kept = list((world.library.path / RECORDINGS).rglob("Nina - Fifty.wav"))
    assert len(kept) == 1
    assert world.client.delete(f"/v1/recordings/{added['id']}").status_code == 204
    assert world.client.post("/v1/identify", content=query).json()["matches"] == []
    assert not kept[0].exists()
    problem(world.client.delete(f"/v1/recordings/{added['id']}"), 404, "recording_not_found")


def test_an_upload_whose_process_is_killed_is_deleted_unless_it_was_added(world, monkeypatch):
    folder = world.library.path / RECORDINGS
    before = set(folder.rglob("*"))
    really_add = operations.add_recording

    def killed(library, path, keep, **more):
        """Move the file, and add it if it is audio; then the process ends."""
        kept = Path(keep) / Path(path).parent.name / Path(path).name
        kept.parent.mkdir(parents=True)
        shutil.move(path, kept)
        if kept.name == "added.wav":
            library.add(kept, workers=1)

    async def run_in(state, pool, operation, **arguments):
        assert operation is really_add and pool is state.additions
        await run_in_threadpool(killed, world.library, **arguments)
        raise LimitExceeded("it takes longer than 600 s")

    monkeypatch.setattr(type(world.server), "run_in", run_in)
    for name, seed in (("slow.wav", 60), ("added.wav", 61)):
        answer = world.client.post("/v1/recordings", files={"file": (name, world.wav(toy.song(seed)))})
        problem(answer, 422, "took_too_long")
    assert {path.name for path in set(folder.rglob("*")) - before if path.is_file()} == {"added.wav"}


def test_adding_the_same_file_again_returns_the_known_recording(world):
    first = world.add(51)
    again = world.client.post("/v1/recordings", files={"file": ("copy.wav", world.wav(toy.song(51)))})
    assert (again.status_code, again.json()["outcome"]) == (200, "known")
    assert again.json()["recording"]["id"] == first["id"]


def test_a_replacement_inherits_the_tags_of_the_replaced_recording(world):
    old = world.add(52, title="The song", artists=["Somebody"], work="The work", original="true")
    world.client.patch(f"/v1/recordings/{old['id']}", json={"fields": {"label": "Verve"}})
    new = world.add(53, "remaster.wav", replaces=old["id"], album="Remasters")
    assert new["fields"] == {"label": "Verve"}
    assert (new["title"], new["artists"], new["work"], new["album"]) == (
        "The song",
        ["Somebody"],
        "The work",
        "Remasters",
    )
    assert world.library.recording(new["id"]).original
    problem(world.client.get(f"/v1/recordings/{old['id']}"), 404, "recording_not_found")
    named = world.client.post("/v1/identify", content=world.clip(53)).json()["matches"][0]["recording"]
    assert named["id"] == new["id"]


def test_a_failed_import_leaves_no_file(world):
    before = sorted(world.library.path.rglob("*.wav"))
    for sent, code in ((b"text", "unreadable_audio"), (world.wav(toy.song(9)[:2000]), "unreadable_audio")):
        problem(world.client.post("/v1/recordings", files={"file": ("x.wav", sent)}), 422, code)
    wrong = world.client.post("/v1/recordings", files={"file": ("x.wav", world.clip(9))}, data={"year": "MCM"})
    assert "year" in problem(wrong, 422, "invalid_request")
    unknown = world.client.post("/v1/recordings", files={"file": ("x.wav", world.clip(9))}, data={"replaces": "99999"})
    problem(unknown, 404, "recording_not_found")
    assert sorted(world.library.path.rglob("*.wav")) == before


def test_reports_contain_edited_tags(world):
    added = world.add(54)
    edited = world.client.patch(
        f"/v1/recordings/{added['id']}",
        json={"title": "Ünïcode 🎵", "artists": ["A", "B"], "year": 2001, "album": None},
    )
    assert edited.status_code == 200
    named = world.client.post("/v1/identify", content=world.clip(54)).json()["matches"][0]["recording"]
    assert (named["title"], named["artists"], named["year"]) == ("Ünïcode 🎵", ["A", "B"], 2001)
    for wrong in ({"title": ""}, {"titel": "x"}, {"year": 12}, {"title": "a\0b"}, {"isrc": "no"}, [], "x"):
        problem(world.client.patch(f"/v1/recordings/{added['id']}", json=wrong), 422, "invalid_request")
    problem(world.client.patch("/v1/recordings/999999", json={"title": "x"}), 404, "recording_not_found")


def test_user_fields_come_back_in_every_answer(world):
    added = world.add(59, "fields.wav", fields='{"label": "Verve", "source": "/archive/7"}')
    address = f"/v1/recordings/{added['id']}"
    assert added["fields"] == {"label": "Verve", "source": "/archive/7"}
    edited = world.client.patch(address, json={"fields": {"id": 7, "live": True, "source": None}}).json()
    assert edited["fields"] == {"label": "Verve", "id": 7, "live": True}
    assert [type(each) for each in edited["fields"].values()] == [str, int, bool]
    named = world.client.post("/v1/identify", content=world.clip(59)).json()["matches"][0]["recording"]
    assert named["fields"] == edited["fields"]
    for wrong in ({"a=b": 1}, {"a": ["b"]}, {"a": "x" * 1001}, {"a": 2**60}, "x"):
        problem(world.client.patch(address, json={"fields": wrong}), 422, "invalid_request")
    too_many = {"fields": {f"field {number}": 1 for number in range(48)}}
    assert "at most 50" in problem(world.client.patch(address, json=too_many), 422, "invalid_request")
    assert world.client.patch(address, json={"fields": None}).json()["fields"] == {}


def test_the_list_is_searched_sorted_and_paged(world):
    def pages(**query):
        after = "0"
        while after is not None:
            page = world.client.get("/v1/recordings", params={**query, "after": after}).json()
            yield from page["items"]
            after = page["next"]

    everything = list(pages(limit=2))
    assert [each["id"] for each in everything] == [each.id for each in world.library.recordings()]
    backwards = [each["title"] for each in pages(limit=3, sort="-title", q="song 0")]
    assert backwards == ["Song 04", "Song 03", "Song 02", "Song 01", "Song 00"]
    assert world.client.get("/v1/recordings?q=band+song&limit=1").json()["total"] >= 5
    assert world.client.get("/v1/recordings?q=song%00").json()["total"] >= 5  # databases reject NUL
    for wrong in ("after=x", "after=-1", "limit=0", "limit=100000", "sort=source"):
        problem(world.client.get(f"/v1/recordings?{wrong}"), 422, "invalid_request")


def test_recordings_are_linked_to_one_work(world):
    ids = [world.add(seed)["id"] for seed in (55, 56)]
    linked = world.client.put("/v1/works", json={"recordings": ids, "work": "Ninety", "original": ids[1]}).json()
    assert [each["id"] for each in linked["recordings"]] == ids
    (song,) = world.client.post("/v1/identify", content=world.clip(55)).json()["songs"]
    assert (song["work"], song["original"]) == ("Ninety", ids[1])
    assert world.client.delete(f"/v1/recordings/{ids[0]}/work").status_code == 204
    assert world.client.get(f"/v1/recordings/{ids[0]}").json()["work"] == ""
    problem(world.client.put("/v1/works", json={"recordings": [ids[0]]}), 409, "library_refuses")


def test_covers_of_a_recording_are_listed(world):
    tunes = [
        world.client.post(
            "/v1/recordings", files={"file": (f"tune {key}.wav", world.wav(toy.tune(7, key=key, sound=1 + key)))}
        ).json()["recording"]
        for key in (0, 2)
    ]
    (found,) = world.client.get(f"/v1/recordings/{tunes[0]['id']}/covers").json()["items"]
    assert (found["recording"]["id"], found["kind"]) == (tunes[1]["id"], "cover")
    assert abs(found["key_shift"]) == 2


def test_duplicate_recordings_are_listed(world):
    one = world.add(57)
    softer = world.client.post("/v1/recordings", files={"file": ("softer.wav", world.wav(0.6 * toy.song(57)))}).json()
    pairs, after = [], "0"
    while after is not None:
        page = world.client.get("/v1/duplicates", params={"after": after, "limit": 1}).json()
        pairs += [[each["id"] for each in pair["recordings"]] for pair in page["items"]]
        after = page["next"]
    assert pairs == [[one["id"], softer["recording"]["id"]]]


def test_duplicates_are_kept_or_merged(world):
    address = "/v1/duplicates/decisions"
    ids = [world.add(97)["id"]]
    for volume in (0.7, 0.5):
        sent = {"file": (f"{volume}.wav", world.wav(volume * toy.song(97)))}
        ids.append(world.client.post("/v1/recordings", files=sent).json()["recording"]["id"])
    one, two, three = ids

    def listed() -> list[list[int]]:
        found, after = [], "0"
        while after is not None:
            page = world.client.get("/v1/duplicates", params={"after": after}).json()
            found += [[each["id"] for each in group["recordings"]] for group in page["items"]]
            after = page["next"]
        return [group for group in found if set(group) & set(ids)]

    assert listed() == [ids]
    merged = world.client.post(address, json={"decision": "merge", "recordings": [one, two], "into": two})
    assert [each["id"] for each in merged.json()["recordings"]] == [two]
    problem(world.client.get(f"/v1/recordings/{one}"), 404, "recording_not_found")
    assert len(world.library.files(two)) == 2 and listed() == [[two, three]]
    kept = world.client.post(address, json={"decision": "keep", "recordings": [three, two]})
    assert [each["id"] for each in kept.json()["recordings"]] == [three, two] and listed() == []
    for wrong in (
        {"decision": "merge", "recordings": [two, three]},
        {"decision": "merge", "recordings": [two, three], "into": 1},
        {"decision": "keep", "recordings": [two, three], "into": two},
        {"decision": "keep", "recordings": [two]},
        {"decision": "sell", "recordings": [two, three]},
    ):
        problem(world.client.post(address, json=wrong), 422, "invalid_request")
    problem(world.client.post(address, json={"decision": "keep", "recordings": [two, two]}), 409, "library_refuses")
    gone = {"decision": "merge", "recordings": [two, one], "into": two}
    problem(world.client.post(address, json=gone), 404, "recording_not_found")
    assert "recordings.merge" in [each.action for each in world.server.audit.entries()]
    uploads = [Path(file.path) for file in world.library.files(two)]
    assert all(path.exists() for path in uploads)
    world.client.delete(f"/v1/recordings/{two}")
    assert not any(path.exists() for path in uploads)


def test_audio_is_served_whole_by_range_and_as_an_excerpt(world):
    added = world.add(58)
    sent = world.wav(toy.song(58))
    address = f"/v1/recordings/{added['id']}/audio"
    whole = world.client.get(address)
    assert whole.content == sent and whole.headers["content-type"] == "audio/x-wav"
    part = world.client.get(address, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, sent[100:200])
    stretch = world.client.get(f"{address}?start=1.5&duration=2")
    assert stretch.headers["content-type"] == "audio/wav" and len(stretch.content) == 44 + 2 * 2 * 44100
    assert len(world.client.get(f"{address}?start=100").content) < 50  # nothing after the end
    (world.library.path / RECORDINGS / added["source"]).unlink()
    problem(world.client.get(address), 404, "no_audio")


def test_unknown_addresses_and_methods_are_problems(world):
    assert "/docs" in problem(world.client.get("/v1/nothing"), 404, "not_found")
    problem(world.client.put("/v1/identify"), 405, "method_not_allowed")
    for wrong in ("0", "-1", "x", str(2**63), "1e3"):
        problem(world.client.get(f"/v1/recordings/{wrong}"), 422, "invalid_request")


def test_health_readiness_metrics_and_statistics(world):
    assert world.client.get("/healthz").text == "ok\n"
    assert world.client.get("/readyz").text == "ready\n"
    world.client.post("/v1/identify", content=world.clip(3))
    metrics = world.client.get("/metrics").text
    assert f"songprint_recordings {len(world.library)}.0\n" in metrics
    assert 'songprint_requests_total{method="POST",route="/v1/identify",status="200"}' in metrics
    assert 'songprint_identify_seconds_bucket{le="+Inf"}' in metrics
    assert world.client.get("/v1/stats").json()["recordings"] == len(world.library)


def test_metrics_keep_their_names_and_labels(world):
    world.client.post("/v1/identify", content=world.clip(3))
    answer = world.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [each for family in text_string_to_metric_families(answer.text) for each in family.samples]
    assert {(each.name, *sorted(each.labels)) for each in samples} == {
        ("songprint_requests_total", "method", "route", "status"),
        ("songprint_request_seconds_bucket", "le", "route"),
        ("songprint_request_seconds_count", "route"),
        ("songprint_request_seconds_sum", "route"),
        ("songprint_clips_total",),
        ("songprint_answers_total", "kind"),
        ("songprint_identify_seconds_bucket", "le"),
        ("songprint_identify_seconds_count",),
        ("songprint_identify_seconds_sum",),
        ("songprint_recordings",),
        ("songprint_recordings_seconds",),
        ("songprint_segments", "kind"),
        ("songprint_clips_waiting",),
        ("songprint_jobs", "state"),
        ("songprint_deliveries", "state"),
        ("songprint_up",),
    }


def test_every_response_has_security_headers(world):
    for address in ("/healthz", "/v1/recordings", "/v1/nothing"):
        headers = world.client.get(address).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


def test_a_report_matches_its_declared_schema(world):
    report = world.client.post("/v1/identify?top=5", content=world.clip(3)).json()
    assert TypeAdapter(schema.Report).validate_python(report, strict=True) == report
    match = report["matches"][0]
    assert match.keys() == schema.Match.__required_keys__
    assert match["recording"].keys() == schema.Recording.__required_keys__
    assert report["songs"][0].keys() == schema.Song.__required_keys__


def test_openapi_describes_the_declared_objects(world):
    described = world.client.get("/openapi.json").json()["components"]["schemas"]
    for name in (
        "Report",
        "Match",
        "Recording",
        "Song",
        "Section",
        "Interval",
        "Key",
        "Delivery",
        "Verdict",
        "ListedJob",
    ):
        declared = getattr(schema, name)
        assert set(described[name]["required"]) == declared.__required_keys__
        assert described[name]["properties"].keys() == declared.__required_keys__ | declared.__optional_keys__
    assert described["Recording"]["properties"]["duration"]["description"] == "seconds"


def test_the_files_of_a_recording_are_listed(world, tmp_path):
    recording = world.library.recordings()[0]
    path = f"/v1/recordings/{recording.id}/files"
    [file] = world.client.get(path).json()["items"]
    assert (file["path"], file["missing_since"]) == (recording.source, "")
    assert file["size"] == Path(recording.source).stat().st_size
    assert world.client.get("/v1/recordings/99999/files").status_code == 404
