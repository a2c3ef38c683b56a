"""What Tencent's API refuses: invalid parameters, hostile URLs, arbitrary input."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tencent
from support.hostile_urls import LOOPBACK, MALFORMED, METADATA, PRIVATE
from support.serving import serving
from support.tencent import CALLBACK, URL, Client, request_of

from songprint.config import ServerSettings, StorageSettings
from songprint.server.tencent import process
from songprint.server.tencent.parameters import Parameters
from songprint.server.tencent.signatures import Refused


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    (folder / "music-125").mkdir()
    with serving(
        tmp_path_factory.mktemp("world"),
        songs=1,
        storages=(StorageSettings(folder=folder),),
        rates={"ProcessMedia": 10_000},
    ) as world:
        yield world


@pytest.fixture(scope="module")
def client(world) -> Client:
    return Client.of(world, world.server.keys.create("player", "identify"))


def info_of(**changes: object) -> dict:
    return request_of(InputInfo=changes)


COS = {"Bucket": "music-125", "Region": "ap-nanjing", "Object": "a.mp3"}
ANALYSIS = {"Definition": 21, "ExtendedParameter": json.dumps(tencent.DETAILS)}


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, "MissingParameter"),
        (request_of(InputInfo=None), "MissingParameter"),
        (info_of(), "MissingParameter"),
        (info_of(Type="URL"), "MissingParameter"),
        (info_of(Type="URL", UrlInputInfo={}), "MissingParameter"),
        (info_of(Type="URL", UrlInputInfo="http://a"), "InvalidParameter"),
        (info_of(Type="URL", UrlInputInfo={"Url": 5}), "InvalidParameter"),
        (info_of(Type="FTP"), "InvalidParameterValue.InputInfo"),
        (info_of(Type="VOD", VODInputInfo={}), "UnsupportedOperation"),
        (info_of(Type="COS"), "MissingParameter"),
        (info_of(Type="COS", CosInputInfo={**COS, "Bucket": "../etc"}), "ResourceNotFound.CosBucketNameInvalid"),
        (info_of(Type="COS", CosInputInfo={**COS, "Bucket": "other-125"}), "ResourceNotFound.CosBucketNotExist"),
        (info_of(Type="COS", CosInputInfo={**COS, "Object": "../../etc/passwd"}), "InvalidParameterValue.InputInfo"),
        (
            info_of(Type="AWS-S3", S3InputInfo={"S3Bucket": "a-b", "S3Object": "a", "S3SecretId": "x"}),
            "MissingParameter",
        ),
        (request_of("http://169.254.169.254/"), "InvalidParameter.InvalidUrl"),
        (request_of("http://10.0.0.1/"), "InvalidParameter.InvalidUrl"),
        (request_of("file:///etc/passwd"), "InvalidParameter.InvalidUrl"),
        (request_of(AiAnalysisTask=None), "InvalidParameter"),
        (request_of(AiAnalysisTask={}), "MissingParameter"),
        (request_of(AiAnalysisTask={"Definition": 22}), "InvalidParameterValue.Definition"),
        (request_of(AiAnalysisTask={"Definition": "a"}), "InvalidParameter"),
        (request_of(AiAnalysisTask={"Definition": True}), "InvalidParameter"),
        (request_of(AiAnalysisTask=ANALYSIS | {"ExtendedParameter": "not json"}), "InvalidParameterValue"),
        (request_of(AiAnalysisTask=ANALYSIS | {"ExtendedParameter": "[1]"}), "InvalidParameterValue"),
        (
            request_of(AiAnalysisTask=ANALYSIS | {"ExtendedParameter": '{"tag":{"process_type":"7"}}'}),
            "InvalidParameterValue",
        ),
        (request_of(AiAnalysisTask=ANALYSIS | {"ExtendedParameter": '{"tag":5}'}), "InvalidParameter"),
        (
            request_of(AiAnalysisTask=ANALYSIS | {"ExtendedParameter": '{"songprint":{"cover":true}}'}),
            "UnknownParameter",
        ),
        (
            request_of(AiAnalysisTask=ANALYSIS | {"ExtendedParameter": '{"songprint":{"max_results":0}}'}),
            "InvalidParameterValue",
        ),
        (request_of(MediaProcessTask={"TranscodeTaskSet": []}), "UnsupportedOperation"),
        (request_of(ScheduleId=5), "UnsupportedOperation"),
        (request_of(Activities=[{}]), "UnsupportedOperation"),
        (request_of(OutputDir="common/"), "InvalidParameterValue"),
        (request_of(OutputStorage={}), "MissingParameter"),
        (request_of(OutputStorage={"Type": "DISK"}), "InvalidParameterValue"),
        (request_of(OutputStorage={"Type": "VOD"}), "UnsupportedOperation"),
        (
            request_of(OutputStorage={"Type": "COS", "CosOutputStorage": {"Bucket": "music-125"}}, OutputDir="/../"),
            "InvalidParameterValue",
        ),
        (request_of(TasksPriority=11), "InvalidParameterValue"),
        (request_of(TasksPriority="high"), "InvalidParameter"),
        (request_of(TasksPriority=10**30), "InvalidParameterValue"),
        (request_of(TaskType="Sometime"), "InvalidParameterValue"),
        (request_of(SkipMateData=2), "InvalidParameter"),
        (request_of(SessionId="s" * 51), "InvalidParameterValue.SessionIdTooLong"),
        (request_of(SessionContext="s" * 1001), "InvalidParameterValue.SessionContextTooLong"),
        (request_of(SessionId=5), "InvalidParameter"),
        (request_of(TaskNotifyConfig=5), "InvalidParameter"),
        (request_of(TaskNotifyConfig={"NotifyType": "URL"}), "MissingParameter"),
        (request_of(TaskNotifyConfig={"NotifyType": "TDMQ-CMQ"}), "UnsupportedOperation"),
        (request_of(TaskNotifyConfig={"QueueName": "q", "CmqModel": "Queue"}), "UnsupportedOperation"),
        (request_of(TaskNotifyConfig={"NotifyType": "AWS-SQS"}), "UnsupportedOperation"),
        (request_of(TaskNotifyConfig={"NotifyType": "PIGEON"}), "InvalidParameterValue"),
        (request_of(TaskNotifyConfig=CALLBACK | {"NotifyMode": "Never"}), "InvalidParameterValue"),
        (request_of(TaskNotifyConfig=CALLBACK | {"NotifyUrl": "http://10.0.0.1/"}), "InvalidParameter.InvalidUrl"),
        (request_of(TaskNotifyConfig=CALLBACK | {"NotifyUrl": "http://127.0.0.1/"}), "InvalidParameter.InvalidUrl"),
        (request_of(Unheard="of"), "UnknownParameter"),
    ],
)
def test_invalid_parameters_are_refused_with_their_code(client, world, wanted, code):
    assert client.refusal("ProcessMedia", wanted) == code
    assert world.server.jobs.count(state="waiting") == 0


def test_hostile_urls_are_refused_at_submission(tmp_path):
    """A URL that `fetch` refuses in a worker is refused when the task is submitted."""
    with serving(tmp_path, songs=1, rates={"ProcessMedia": 10_000}) as world:
        client = Client.of(world, world.server.keys.create("player", "identify"))
        hostile = [url for url in LOOPBACK + PRIVATE + METADATA + MALFORMED if url]
        for url in hostile:
            assert client.refusal("ProcessMedia", request_of(url)) == "InvalidParameter.InvalidUrl", url
            if not url.startswith("http://files.example:6379"):  # callbacks may use this port
                wanted = request_of(TaskNotifyConfig=CALLBACK | {"NotifyUrl": url})
                answer = client.call("ProcessMedia", wanted)
                assert answer.get("Error", {}).get("Code") == "InvalidParameter.InvalidUrl", (url, answer)
        assert len(hostile) > 90 and world.server.jobs.count() == 0


NAMES = [
    *sorted(process.NAMES),
    "Type",
    "UrlInputInfo",
    "Url",
    "CosInputInfo",
    "Bucket",
    "Region",
    "Object",
    "S3InputInfo",
    "Definition",
    "ExtendedParameter",
    "tag",
    "process_type",
    "songprint",
    "NotifyUrl",
    "NotifyType",
    "CosOutputStorage",
    "0",
    "1",
    "",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["URL", "COS", "AWS-S3", "21", "1102", "True", URL, "music-125", "/a/", '{"tag":{}}', '{"tag":[]}', "\udc80"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_arbitrary_parameters_are_valid_or_refused(sent):
    """Arbitrary parameters alone, and merged into a valid request."""
    for values in (sent, request_of() | sent):
        with contextlib.suppress(Refused):
            assert process.read(Parameters(values), ServerSettings()).input["type"] in ("url", "cos", "s3")
