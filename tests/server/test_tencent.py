"""Tencent's API: tasks from submission to result, lists, callbacks, usage."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support import soundfiles, tencent, timelines, toy
from support.serving import serving
from support.tencent import CALLBACK, URL, Client, request_of

from songprint.config import StorageSettings
from songprint.formats import objects
from songprint.server.tencent import results
from songprint.types import Fields


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The buckets: one, with a song and a film."""
    folder = tmp_path_factory.mktemp("objects")
    (folder / "music-125").mkdir()
    toy.write(folder / "music-125" / "song.wav", toy.song(1))
    soundfiles.write(folder / "music-125" / "film.mp4", soundfiles.tone(channels=2, duration=3.0))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory, folder):
    with serving(
        tmp_path_factory.mktemp("world"),
        songs=1,
        allow_hosts=("127.0.0.1",),
        max_waiting=500,
        storages=(StorageSettings(folder=folder),),
        names=("music.example.org",),
        rates={"ProcessMedia": 10_000, "DescribeTaskDetail": 10_000},
    ) as world:
        yield world


@pytest.fixture(scope="module")
def client(world) -> Client:
    """A client with its own key."""
    return Client.of(world, world.server.keys.create("player", "identify"))


@pytest.fixture(autouse=True)
def _nothing_waits(world):
    yield
    for job in world.server.jobs.find(state="waiting"):
        world.server.jobs.cancel(job.id)


def detail(client: Client, task_id: str) -> dict:
    return client.call("DescribeTaskDetail", {"TaskId": task_id})


def test_a_task_is_submitted_processed_and_described(client, world):
    task_id = client.call("ProcessMedia", request_of(SessionContext="mine", TaskNotifyConfig=CALLBACK))["TaskId"]
    assert task_id.startswith("1300000000-WorkflowTask-")
    waiting = detail(client, task_id)
    assert (waiting["Status"], waiting["BeginProcessTime"], waiting["FinishTime"]) == ("WAITING", "", "")
    assert waiting["TaskNotifyConfig"]["NotifyUrl"] == CALLBACK["NotifyUrl"]
    assert "k3y" not in json.dumps(waiting)

    tencent.finished(world, timelines.programme())
    done = detail(client, task_id)
    task = done["WorkflowTask"]
    assert (done["Status"], done["SessionContext"], task["ErrCode"], task["TaskId"]) == ("FINISH", "mine", 0, task_id)
    assert task["InputInfo"]["UrlInputInfo"] == {"Url": URL}
    assert all(time.strptime(done[name], "%Y-%m-%dT%H:%M:%SZ") for name in ("CreateTime", "FinishTime"))
    (result,) = task["AiAnalysisResultSet"]
    tag = result["TagTask"]
    assert (result["Type"], tag["Status"], tag["ErrCode"], tag["ErrCodeExt"], tag["Message"], tag["Progress"]) == (
        "Tag",
        "SUCCESS",
        0,
        "",
        "SUCCESS",
        100,
    )
    assert tag["Input"]["Definition"] == 21
    assert [item["Tag"] for item in tag["Output"]["TagSet"]] == ["Greensleeves", "Scarborough Fair", "The Ash Grove"]


def test_songs_have_the_specified_fields(client, world):
    client.call("ProcessMedia", request_of())
    job = tencent.finished(world, timelines.programme())
    fair, cover = results.tag_set(job.result)[1:]
    info = json.loads(fair["SpecialInfo"])
    assert (info["song_name"], info["singer_name"], info["other_singer_list"]) == (
        "Scarborough Fair",
        "Simon",
        [{"singer_name": "Garfunkel"}],
    )
    assert (info["segment_list"], info["reference_start"], info["reference_end"]) == ([[120, 270]], 120, 270)
    assert (info["song_id"], info["song_mid"], len(info["song_mid"])) == (2, "00000000000002", 14)
    assert (info["match_type"], info["isrc"]) == ("recording", "US-AB1-67-00001")
    assert (info["segments"][0]["end"], info["segments"][0]["tempo_ratio"]) == (260.5, 1.04)
    assert fair["Confidence"] == 98.8
    info = json.loads(cover["SpecialInfo"])  # the title of the original, the artists of both
    assert (cover["Tag"], info["singer_name"], info["other_singer_list"]) == (
        "The Ash Grove",
        "Trad.",
        [{"singer_name": "Band"}],
    )
    assert (info["match_type"], info["work"], info["segments"][0]["song_id"]) == ("cover", "ash grove", 4)


def test_user_fields_name_songs_and_singers_as_the_client_knows_them():
    def song(**fields):
        of = replace(timelines.recording(7, "Song", ("Anon", "Other")), fields=Fields(fields))
        (tag,) = results.tag_set(objects.timeline_object(timelines.timeline(timelines.segment(0, 30, of))))
        info = json.loads(tag["SpecialInfo"])
        assert info["segments"][0]["song_id"] == info["song_id"]
        return info["song_id"], info["song_mid"], [each["singer_name"] for each in info["other_singer_list"]]

    assert song() == (7, results.song_mid(7), ["Other"])
    given = song(song_id=521340020, song_mid="000Quzkn4N0CBN", other_singer_list="Jam Hsiao；Tia Ray; ")
    assert given == (521340020, "000Quzkn4N0CBN", ["Jam Hsiao", "Tia Ray"])
    assert song(song_id=" 12 ", song_mid=34, other_singer_list="Anon") == (12, "34", [])
    assert song(song_id="A7", song_mid=" ", other_singer_list=True) == (7, results.song_mid(7), ["Other"])
    assert song(song_id=1.5)[0] == song(song_id=-1)[0] == song(song_id=True)[0] == song(song_id="9" * 30)[0] == 7


def test_a_song_played_twice_has_two_segments_unless_they_touch_on_the_grid(client, world):
    song = timelines.recording(7, "Again")
    found = timelines.timeline(
        timelines.segment(31, 160, song), timelines.segment(181, 250, song), timelines.segment(256, 280, song)
    )
    client.call("ProcessMedia", request_of())
    (tag,) = results.tag_set(tencent.finished(world, found).result)
    info = json.loads(tag["SpecialInfo"])
    assert (info["segment_list"], info["reference_start"], info["reference_end"]) == ([[30, 165], [180, 285]], 30, 285)
    assert len(info["segments"]) == 3


@pytest.mark.parametrize(
    ("start", "end", "duration", "expected"),
    [
        (0.4, 11.9, 12.0, [[0, 12]]),
        (0.4, 11.9, 12.9, [[0, 12]]),
        (16, 28, 31.2, [[15, 30]]),
        (16, 31, 31.2, [[15, 31]]),
        (30.1, 30.3, 30.4, [[29, 30]]),
        (0, 0.4, 0.5, [[0, 1]]),
    ],
)
def test_segments_do_not_pass_the_end_of_the_input(start, end, duration, expected):
    timeline = objects.timeline_object(
        timelines.timeline(timelines.segment(start, end, timelines.recording(7, "Song")), duration=duration)
    )
    (tag,) = results.tag_set(timeline)
    info = json.loads(tag["SpecialInfo"])
    assert (info["segment_list"], info["reference_end"]) == (expected, expected[-1][1])


def test_whole_numbers_may_have_a_decimal_point(client):
    for number in (21.0, "21.0", "21"):
        task = request_of(AiAnalysisTask={"Definition": number}, TasksPriority=2.0)
        assert client.call("ProcessMedia", task)["TaskId"]
    for wrong in (21.5, "21.5", 1e300, "21.", "2e1"):
        assert client.refusal("ProcessMedia", request_of(AiAnalysisTask={"Definition": wrong})) == "InvalidParameter"


def test_a_task_without_songs_has_an_empty_tag_set(client, world):
    task_id = client.call("ProcessMedia", request_of())["TaskId"]
    tencent.finished(world, timelines.timeline())
    tag = detail(client, task_id)["WorkflowTask"]["AiAnalysisResultSet"][0]["TagTask"]
    assert (tag["Status"], tag["Output"]) == ("SUCCESS", {"TagSet": []})


@pytest.mark.parametrize(
    ("code", "message", "number", "name"),
    [
        ("input_refused", "it is a playlist", 40000, "InvalidInput"),
        ("input_not_found", "status 404", 60000, "SourceFileError.DownloadNotAccessible"),
        ("input_timeout", "too long", 60000, "SourceFileError.DownloadNotAccessible"),
        ("input_too_large", "too large", 60000, "SourceFileError.ContentUnsupported"),
        ("input_unreadable", "damaged", 60000, "SourceFileError.ContentMalformed"),
        (
            "input_unreadable",
            "cannot read a.mp4: no audio stream (only video). Is it complete?",
            60000,
            "SourceFileError.ContentUnsupported",
        ),
        ("internal", "a bug", 70000, "InternalError"),
    ],
)
def test_a_failed_task_has_its_error_code(client, world, code, message, number, name):
    task_id = client.call("ProcessMedia", request_of())["TaskId"]
    tencent.failed(world, code, message)
    shown_task = detail(client, task_id)
    task, tag = shown_task["WorkflowTask"], shown_task["WorkflowTask"]["AiAnalysisResultSet"][0]["TagTask"]
    assert (shown_task["Status"], task["ErrCode"], task["Message"]) == ("FINISH", number, tag["Message"])
    assert (tag["Status"], tag["ErrCode"], tag["ErrCodeExt"], tag["Output"]) == ("FAIL", number, name, None)
    assert tag["Message"] in (message, "no audio stream")


def test_the_callback_is_signed_and_has_no_envelope(client, world):
    client.call("ProcessMedia", request_of(SessionContext="mine", TaskNotifyConfig=CALLBACK))
    job = world.server.jobs.opened(tencent.finished(world, timelines.programme()))
    event = json.loads(results.builders(1300000000)["tencent"](job))
    assert (event["EventType"], event["SessionContext"]) == ("WorkflowTask", "mine")
    assert event["WorkflowTaskEvent"]["Message"] == "SUCCESS"
    assert event["Timestamp"] == pytest.approx(time.time() + 600, abs=5)
    assert event["Sign"] == hashlib.md5(f"{event['Timestamp']}k3y".encode()).hexdigest()
    vector = json.loads(results.callback_body(job, 1, now=1700000000))
    assert (vector["Timestamp"], vector["Sign"]) == (1700000600, "bccbda21f2aefda471db95169f025027")
    (delivery,) = world.server.deliveries.of_job(job.id)
    assert (delivery.url, delivery.style) == (CALLBACK["NotifyUrl"], "tencent")
    parsed = client.call("ParseNotification", {"Content": json.dumps(event)})
    assert parsed["WorkflowTaskEvent"]["TaskId"] == results.task_id(job.id, 1300000000)


def test_a_callback_without_a_key_has_no_signature(client, world):
    client.call("ProcessMedia", request_of(TaskNotifyConfig={"NotifyUrl": URL}))  # NotifyType defaults to URL
    event = json.loads(results.callback_body(tencent.finished(world, timelines.timeline()), 1))
    assert "Sign" not in event and "Timestamp" not in event


def test_mode_change_notifies_about_every_state(client, world):
    client.call("ProcessMedia", request_of(TaskNotifyConfig=CALLBACK | {"NotifyMode": "Change"}))
    job = tencent.finished(world, timelines.timeline())
    assert [delivery.event for delivery in world.server.deliveries.of_job(job.id)] == ["running", "finished"]


def test_flattened_parameters_equal_json(client, world):
    flat = {
        "InputInfo.Type": "URL",
        "InputInfo.UrlInputInfo.Url": URL,
        "AiAnalysisTask.Definition": "21",
        "AiAnalysisTask.ExtendedParameter": json.dumps(tencent.DETAILS),
        "TasksPriority": "5",
    }
    for answer in (
        client.get("ProcessMedia", flat),
        client.v1("GET", "ProcessMedia", flat),
        client.v1("POST", "ProcessMedia", flat),
        client.v1("POST", "ProcessMedia", flat, "HmacSHA1"),
    ):
        job = world.server.jobs.get(results.job_id(answer["TaskId"]))
        assert (job.input, job.priority) == ({"type": "url", "url": URL}, 5)
    assert client.get("DescribeAIAnalysisTemplates", {"Definitions.0": "21"})["TotalCount"] == 1
    waiting = {"Status": "WAITING", "SubTaskHasFailed": "False", "Limit": "5"}
    assert client.get("DescribeTasks", waiting)["TotalCount"] == 4


def test_a_session_id_creates_one_task(client, world):
    assert client.refusal("ProcessMedia", request_of(SessionId="s1", OutputDir="wrong")) == "InvalidParameterValue"
    assert "TaskId" in client.call("ProcessMedia", request_of(SessionId="s1"))
    assert client.refusal("ProcessMedia", request_of(SessionId="s1")) == "InvalidParameterValue.SessionId"
    other = Client.of(world, world.server.keys.create("other", "identify"))
    assert "TaskId" in other.call("ProcessMedia", request_of(SessionId="s1"))
    assert all("TaskId" in client.call("ProcessMedia", request_of(SessionId="")) for _ in range(2))


def test_inputs_and_outputs_can_be_objects_in_buckets(client, world):
    wanted = request_of(
        InputInfo={
            "Type": "cos",
            "CosInputInfo": {"Bucket": "music-125", "Region": "ap-nanjing", "Object": "/song.wav"},
        },
        OutputStorage={"Type": "COS", "CosOutputStorage": {"Bucket": "music-125", "Region": "ap-nanjing"}},
    )
    task_id = client.call("ProcessMedia", wanted)["TaskId"]
    job = world.server.jobs.get(results.job_id(task_id))
    assert job.input == {"type": "cos", "bucket": "music-125", "region": "ap-nanjing", "object": "/song.wav"}
    assert (job.options["output"]["dir"], job.options["output"]["style"]) == ("/common/test/", "tencent-result")
    assert job.options["output"]["name"].replace("{id}", job.id) == f"{task_id}.json"
    assert detail(client, task_id)["WorkflowTask"]["InputInfo"]["CosInputInfo"]["Object"] == "/song.wav"


def test_bucket_credentials_are_never_returned(client):
    info = {
        "Type": "AWS-S3",
        "S3InputInfo": {
            "S3Bucket": "theirs",
            "S3Region": "eu-west-1",
            "S3Object": "a.mp3",
            "S3SecretId": "THEIRID",
            "S3SecretKey": "THEIRSECRET",
        },
    }
    shown = json.dumps(
        detail(
            client,
            client.call(
                "ProcessMedia",
                request_of(InputInfo=info | {"S3InputInfo": info["S3InputInfo"] | {"S3Bucket": "music-125"}}),
            )["TaskId"],
        )
    )
    assert "THEIRSECRET" not in shown and "THEIRID" not in shown and "music-125" in shown


@pytest.mark.parametrize(
    "details",
    [
        json.dumps(tencent.DETAILS),
        tencent.DETAILS,
        json.dumps(tencent.DETAILS).replace('"', '\\"'),
        '{"tag":{"process_type":1102}}',
        "{}",
        "",
        None,
    ],
)
def test_extended_parameters_are_accepted_in_every_form(client, details):
    assert "TaskId" in client.call(
        "ProcessMedia", request_of(AiAnalysisTask={"Definition": 21, "ExtendedParameter": details})
    )


def test_songprint_options_are_accepted_in_extended_parameters(client, world):
    own = tencent.DETAILS | {"songprint": {"covers": False, "min_confidence": 80, "max_results": 1}}
    task_id = client.call(
        "ProcessMedia",
        request_of(AiAnalysisTask={"Definition": 21, "ExtendedParameter": json.dumps(own)}, TaskType="Offline"),
    )["TaskId"]
    job = tencent.finished(world, timelines.programme())
    assert (job.options["kinds"], job.priority) == (["recording"], -10)
    tag = detail(client, task_id)["WorkflowTask"]["AiAnalysisResultSet"][0]["TagTask"]
    assert [item["Tag"] for item in tag["Output"]["TagSet"]] == ["Greensleeves"]


def test_a_full_queue_refuses_tasks(tmp_path):
    with serving(tmp_path, songs=1, max_waiting=1) as world:
        client = Client.of(world, world.server.keys.create("player", "identify"))
        client.call("ProcessMedia", request_of())
        assert client.refusal("ProcessMedia", request_of(SessionId="s")) == "LimitExceeded.CreateTask"
        tencent.finished(world, timelines.timeline())
        assert "TaskId" in client.call("ProcessMedia", request_of(SessionId="s"))


def test_tasks_are_listed_by_page(world):
    client = Client.of(world, world.server.keys.create("lister", "identify"))
    made = [client.call("ProcessMedia", request_of())["TaskId"] for _ in range(5)]
    pages, token = [], ""
    for _ in range(3):
        page = client.call("DescribeTasks", {"Status": "WAITING", "Limit": 2, "ScrollToken": token})
        assert page["TotalCount"] == 5
        pages.append([item["TaskId"] for item in page["TaskSet"]])
        token = page["ScrollToken"]
    assert (pages, token) == ([made[:2:-1], made[2:0:-1], made[:1]], "")
    item = page["TaskSet"][0]
    assert (item["TaskType"], item["FinishTime"]) == ("WorkflowTask", "0000-00-00T00:00:00Z")
    tencent.finished(world, timelines.timeline())
    tencent.failed(world, "internal", "a bug")
    listed = {
        failed: client.call("DescribeTasks", {"Status": "FINISH", "SubTaskHasFailed": failed})["TotalCount"]
        for failed in (None, True, False)
    }
    assert listed == {None: 2, True: 1, False: 1}
    assert client.call("DescribeTasks", {"Status": "WAITING", "SubTaskHasFailed": True})["TotalCount"] == 0
    assert client.call("DescribeTasks", {"Status": "WAITING", "EndTime": "2020-01-01T00:00:00Z"})["TotalCount"] == 0


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, "MissingParameter"),
        ({"Status": "DONE"}, "InvalidParameterValue"),
        ({"Status": "FINISH", "Limit": 0}, "InvalidParameterValue.Limit"),
        ({"Status": "FINISH", "Limit": 101}, "InvalidParameterValue.Limit"),
        ({"Status": "FINISH", "ScrollToken": "nope"}, "InvalidParameterValue"),
        ({"Status": "FINISH", "StartTime": "yesterday"}, "InvalidParameterValue"),
    ],
)
def test_invalid_list_requests_are_refused(client, wanted, code):
    assert client.refusal("DescribeTasks", wanted) == code


def test_only_waiting_tasks_can_be_aborted(client, world):
    abort = {"OperationType": "Abort", "TaskId": client.call("ProcessMedia", request_of())["TaskId"]}
    assert client.call("ManageTask", abort) == {}
    shown_task = detail(client, abort["TaskId"])
    tag = shown_task["WorkflowTask"]["AiAnalysisResultSet"][0]["TagTask"]
    assert (shown_task["Status"], tag["Status"], tag["Message"]) == ("FINISH", "FAIL", "aborted")
    assert client.refusal("ManageTask", abort) == "InvalidParameterValue.NotProcessingTask"
    running = client.call("ProcessMedia", request_of())["TaskId"]
    job = world.server.jobs.claim("test", 30.0)
    assert client.refusal("ManageTask", abort | {"TaskId": running}) == "InvalidParameterValue.NotProcessingTask"
    assert detail(client, running)["Status"] == "PROCESSING"
    world.server.jobs.finish(job, {"segments": [], "songs": []}, 1.0)
    assert client.refusal("ManageTask", abort | {"OperationType": "X"}) == "InvalidParameterValue.InvalidOperationType"
    assert client.refusal("ManageTask", abort | {"TaskId": "nope"}) == "InvalidParameterValue.TaskId"
    assert client.refusal("ManageTask", {"OperationType": "Abort"}) == "MissingParameter"


def test_keys_do_not_see_tasks_of_other_keys(client, world):
    task_id = client.call("ProcessMedia", request_of())["TaskId"]
    other = Client.of(world, world.server.keys.create("other", "write"))
    assert other.refusal("DescribeTaskDetail", {"TaskId": task_id}) == "ResourceNotFound"
    assert other.refusal("ManageTask", {"OperationType": "Abort", "TaskId": task_id}) == "InvalidParameterValue.TaskId"
    assert other.call("DescribeTasks", {"Status": "WAITING"})["TotalCount"] == 0
    below = Client.of(world, world.server.keys.create("below", "identify", parent=client.secret_id))
    assert below.refusal("DescribeTaskDetail", {"TaskId": task_id}) == "ResourceNotFound"
    of_below = below.call("ProcessMedia", request_of())["TaskId"]
    assert detail(client, of_below)["Status"] == "WAITING"
    admin = Client.of(world, world.server.keys.create("admin", "admin"))
    assert detail(admin, task_id)["Status"] == "WAITING"


@pytest.mark.parametrize("task_id", ["nope", "1-WorkflowTask-abc", "1-WorkflowTask-" + "0" * 32 + "tt0", "' OR 1=1 --"])
def test_unknown_tasks_are_not_found(client, task_id):
    assert client.refusal("DescribeTaskDetail", {"TaskId": task_id}) == "ResourceNotFound"
    assert client.refusal("DescribeTaskDetail", {"TaskId": ""}) == "MissingParameter"


@pytest.mark.parametrize("content", ["", "nothing", "[]", "{}", '{"EventType": ""}', "[" * 100_000])
def test_invalid_notifications_are_refused(client, content):
    expected = "InvalidParameterValue.InvalidContent" if content else "MissingParameter"
    assert client.refusal("ParseNotification", {"Content": content}) == expected


def test_the_preset_template_is_listed_and_cannot_be_changed(client):
    answer = client.call("DescribeAIAnalysisTemplates", {"Definitions": [21]})
    assert (answer["TotalCount"], answer["AIAnalysisTemplateSet"][0]["Definition"]) == (1, 21)
    for wanted in ({"Definitions": [22]}, {"Type": "Custom"}, {"Name": "other"}):
        assert client.call("DescribeAIAnalysisTemplates", wanted)["TotalCount"] == 0
    assert client.call("DescribeAIAnalysisTemplates", {"Offset": 1}) == {"TotalCount": 1, "AIAnalysisTemplateSet": []}
    for action, code in (
        ("Modify", "InvalidParameterValue.ModifyDefaultTemplate"),
        ("Delete", "InvalidParameterValue.DeleteDefaultTemplate"),
    ):
        assert client.refusal(f"{action}AIAnalysisTemplate", {"Definition": 21}) == code
        assert client.refusal(f"{action}AIAnalysisTemplate", {"Definition": 5}) == "ResourceNotFound.TemplateNotExist"


def in_bucket(name: str) -> dict:
    return {
        "InputInfo": {"Type": "COS", "CosInputInfo": {"Bucket": "music-125", "Region": "ap-nanjing", "Object": name}}
    }


def test_media_metadata_describes_container_and_streams(client):
    film = client.call("DescribeMediaMetaData", in_bucket("film.mp4"))["MetaData"]
    assert (film["Container"], film["Width"], film["Height"]) == ("mov,mp4,m4a,3gp,3g2,mj2", 64, 64)
    assert film["Duration"] == pytest.approx(3.0, abs=0.1)
    assert film["VideoStreamSet"][0]["Codec"] == "mpeg4"
    assert (film["AudioStreamSet"][0]["Codec"], film["AudioStreamSet"][0]["Channel"]) == ("aac", 2)
    song = client.call("DescribeMediaMetaData", in_bucket("song.wav"))["MetaData"]
    assert (song["Width"], song["VideoStreamSet"], song["AudioStreamSet"][0]["SamplingRate"]) == (0, [], 8000)
    assert client.refusal("DescribeMediaMetaData", in_bucket("none.mp3")) == "ResourceNotFound.DownloadError"
    assert (
        client.refusal(
            "DescribeMediaMetaData", {"InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": "http://127.0.0.1:1/"}}}
        )
        == "ResourceNotFound.DownloadError"
    )


def test_a_file_that_is_not_media_is_refused(client, folder):
    (folder / "music-125" / "text").write_text("hello")
    assert client.refusal("DescribeMediaMetaData", in_bucket("text")) == "InvalidParameterValue.SrcFile"


def test_usage_is_reported_by_day(world):
    client = Client.of(world, world.server.keys.create("user", "identify"))
    client.call("ProcessMedia", request_of())
    tencent.finished(world, timelines.timeline(), seconds=90.4)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    asked = {"StartTime": f"{today}T00:00:00Z", "EndTime": f"{today}T23:59:59Z"}
    (data,) = client.call("DescribeUsageData", asked)["Data"]
    assert data["TaskType"] == "AIAnalysis"
    assert data["Summary"] == [{"Time": f"{today}T00:00:00Z", "Count": 1, "Usage": 90}]
    assert data["Details"][0]["Data"] == data["Summary"]
    assert client.call("DescribeUsageData", asked | {"Types": ["Transcode"]})["Data"] == []
    other = Client.of(world, world.server.keys.create("other", "identify"))
    assert other.refusal("DescribeUsageData", {"StartTime": "now", "EndTime": "then"}) == "InvalidParameterValue"
    assert other.refusal("DescribeUsageData", {}) == "MissingParameter"
