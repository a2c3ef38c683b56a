"""Converts a job to what Tencent's clients read: the task, its songs, the callback.

All functions are pure. `app_id` is the account's number, with which every task id begins.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import string
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from songprint import intervals
from songprint.types import Interval

if TYPE_CHECKING:
    from songprint.jobs.jobs import Job

Object = dict[str, object]

CALLBACK, RESULT = "tencent", "tencent-result"  # styles of bodies in the options of jobs
TASK_TYPE = "WorkflowTask"
STATUS = {
    "waiting": "WAITING",
    "running": "PROCESSING",
    "finished": "FINISH",
    "failed": "FINISH",
    "cancelled": "FINISH",
}
NO_TIME = "0000-00-00T00:00:00Z"  # in lists, for what has not happened; elsewhere such a time is empty
NOTIFICATION_SECONDS = 600  # validity of a callback's signature
MASK = "******"  # replaces secrets

_INVALID, _SOURCE, _INTERNAL = 40000, 60000, 70000
_FAILURES = {  # our error code -> Tencent's number and name
    "input_refused": (_INVALID, "InvalidInput"),
    "input_not_found": (_SOURCE, "SourceFileError.DownloadNotAccessible"),
    "input_timeout": (_SOURCE, "SourceFileError.DownloadNotAccessible"),
    "input_too_large": (_SOURCE, "SourceFileError.ContentUnsupported"),
    "input_unreadable": (_SOURCE, "SourceFileError.ContentMalformed"),
    "internal": (_INTERNAL, "InternalError"),
}
_NO_AUDIO = "no audio stream"  # part of the message for an input that is a valid file without audio
_TASK_ID = re.compile(rf"[0-9]+-{TASK_TYPE}-(?P<id>[0-9a-f]{{32}})tt[0-9]+", re.ASCII)
_BASE62 = string.digits + string.ascii_letters
_MID_LENGTH = 14
_MOST_DIGITS = 18  # of a song_id: it fits into 64 bits


def builders(app_id: int) -> dict[str, Callable[[Job], bytes]]:
    """The builders of callback bodies and of results in object stores, by style, for a worker."""
    return {CALLBACK: partial(callback_body, app_id=app_id), RESULT: partial(result_body, app_id=app_id)}


def task_id(job_id: str, app_id: int) -> str:
    """The task id of a job."""
    return f"{app_id}-{TASK_TYPE}-{job_id}tt0"


def job_id(text: str) -> str:
    """The job id of a task id; "" if the text is not a task id.

    >>> job_id(task_id("0123456789abcdef" * 2, 1300000000))
    '0123456789abcdef0123456789abcdef'
    """
    found = _TASK_ID.fullmatch(text)
    return found["id"] if found else ""


def callback_body(job: Job, app_id: int, now: float | None = None) -> bytes:
    """The body of a callback: the response of ParseNotification without its envelope, signed if the client sent a key.

    The signature is valid for ten minutes, so each attempt builds a new body.
    """
    event: Object = {
        "EventType": TASK_TYPE,
        "WorkflowTaskEvent": workflow_task(job, app_id, success="SUCCESS"),
        "ScheduleTaskEvent": None,
        "LiveScheduleTaskEvent": None,
        "EditMediaTaskEvent": None,
        "GetMediaAttributesTaskEvent": None,
        "SessionId": job.session_id,
        "SessionContext": job.session_context,
        "ExtInfo": "",
    }
    secret = (job.options.get("callback") or {}).get("secret", "")
    if secret:
        expires = int(time.time() if now is None else now) + NOTIFICATION_SECONDS
        event |= {"Timestamp": expires, "Sign": notification_sign(expires, secret)}
    return json.dumps(event).encode()


def notification_sign(timestamp: int, key: str) -> str:
    """
    >>> notification_sign(1700000600, "k3y")
    'bccbda21f2aefda471db95169f025027'
    """
    return hashlib.md5(f"{timestamp}{key}".encode("utf-8", "replace")).hexdigest()


def result_body(job: Job, app_id: int) -> bytes:
    """The result that is written to a request's output storage."""
    return json.dumps(workflow_task(job, app_id, success="SUCCESS")).encode()


def task_detail(job: Job, app_id: int) -> Object:
    """The response of DescribeTaskDetail."""
    return {
        "TaskType": TASK_TYPE,
        "Status": STATUS[job.state],
        "CreateTime": moment(job.created_at),
        "BeginProcessTime": moment(job.started_at),
        "FinishTime": moment(job.finished_at),
        "WorkflowTask": workflow_task(job, app_id),
        "EditMediaTask": None,
        "LiveStreamProcessTask": None,
        "ScheduleTask": None,
        "LiveScheduleTask": None,
        "ExtractBlindWatermarkTask": None,
        "TaskNotifyConfig": _notify_config(job.options.get("callback")),
        "TasksPriority": job.priority,
        "SessionId": job.session_id,
        "SessionContext": job.session_context,
        "ExtInfo": "",
    }


def task_item(job: Job, app_id: int) -> Object:
    """A job in the list of DescribeTasks."""
    return {
        "TaskId": task_id(job.id, app_id),
        "TaskType": TASK_TYPE,
        "CreateTime": moment(job.created_at),
        "BeginProcessTime": moment(job.started_at) or NO_TIME,
        "FinishTime": moment(job.finished_at) or NO_TIME,
        "SubTaskTypes": ["AiAnalysis"],
    }


def workflow_task(job: Job, app_id: int, *, success: str = "") -> Object:
    """A job as a WorkflowTask; `success` is the message if the job did not fail."""
    number, _, message = failure(job)
    media = (job.result or {}).get("media")
    hidden = job.options.get("tencent", {}).get("no_metadata")
    return {
        "TaskId": task_id(job.id, app_id),
        "Status": STATUS[job.state],
        "ErrCode": number,
        "Message": message or success,
        "InputInfo": input_info(job.input),
        "MetaData": metadata(media) if media and not hidden else None,
        "MediaProcessResultSet": [],
        "AiContentReviewResultSet": [],
        "AiRecognitionResultSet": [],
        "AiAnalysisResultSet": [_analysis_result(job)],
        "AiQualityControlTaskResult": None,
        "SmartSubtitlesTaskResult": [],
        "SmartEraseTaskResult": None,
        "AiDubbingTaskResult": None,
    }


def failure(job: Job) -> tuple[int, str, str]:
    """Tencent's error number and name for a failed job, and a message; (0, "", "") for any other job."""
    if job.state == "cancelled":
        return _INTERNAL, "InternalError", "aborted"
    if job.state != "failed":
        return 0, "", ""
    if _NO_AUDIO in job.error:
        return _SOURCE, "SourceFileError.ContentUnsupported", _NO_AUDIO
    number, name = _FAILURES.get(job.error_code, _FAILURES["internal"])
    return number, name, job.error


def input_info(location: Mapping[str, Any]) -> Object:
    """The location of an input as the client sent it, without credentials."""
    info: Object = {"Type": "", "CosInputInfo": None, "UrlInputInfo": None, "S3InputInfo": None, "VODInputInfo": None}
    if location["type"] == "url":
        return info | {"Type": "URL", "UrlInputInfo": {"Url": location["url"]}}
    if location["type"] == "cos":
        return info | {
            "Type": "COS",
            "CosInputInfo": {"Bucket": location["bucket"], "Region": location["region"], "Object": location["object"]},
        }
    if location["type"] == "s3":
        return info | {
            "Type": "AWS-S3",
            "S3InputInfo": {
                "S3Bucket": location["bucket"],
                "S3Region": location["region"],
                "S3Object": location["object"],
                "S3SecretId": MASK if location.get("secret_id") else "",
                "S3SecretKey": MASK if location.get("secret_key") else "",
            },
        }
    return info  # an upload, which does not exist in Tencent's API


def metadata(media: Mapping[str, Any]) -> Object:
    """The result of `media.describe` as MediaMetaData."""
    pictures, sounds = media["video"], media["audio"]
    return {
        "Size": media["bytes"],
        "Container": media["format"],
        "Bitrate": media["bit_rate"],
        "Height": pictures[0]["height"] if pictures else 0,
        "Width": pictures[0]["width"] if pictures else 0,
        "Duration": media["duration"],
        "Rotate": 0,
        "VideoStreamSet": [
            {
                "Bitrate": stream["bit_rate"],
                "Codec": stream["codec"],
                "Fps": round(stream["frames_per_second"]),
                "Height": stream["height"],
                "Width": stream["width"],
                "ColorPrimaries": "",
                "ColorSpace": "",
                "ColorTransfer": "",
                "HdrType": "",
                "Codecs": "",
            }
            for stream in pictures
        ],
        "AudioStreamSet": [
            {
                "Bitrate": stream["bit_rate"],
                "SamplingRate": stream["sample_rate"],
                "Codec": stream["codec"],
                "Channel": stream["channels"],
                "Codecs": "",
                "Loudness": 0,
            }
            for stream in sounds
        ],
        "VideoDuration": _duration(pictures, media),
        "AudioDuration": _duration(sounds, media),
    }


def tag_set(
    timeline: Mapping[str, Any], *, min_confidence: float = 0.0, max_results: int | None = None
) -> list[Object]:
    """The songs of a timeline as JSON, by descending confidence, then by start."""
    tags = [
        _tag(song, [timeline["segments"][position] for position in song["segments"]], timeline["duration"])
        for song in timeline["songs"]
    ]
    ranked = sorted((tag for tag in tags if tag[0] >= min_confidence), key=lambda tag: (-tag[0], tag[1]))
    return [tag for *_, tag in ranked[:max_results]]


def segment_list(segments: Iterable[Interval], duration: float) -> list[list[int]]:
    """Segments in whole seconds on Tencent's grid of 15 s, none of which passes the end of the input.

    >>> segment_list([Interval(1.5, 12.0)], 12.4), segment_list([Interval(3, 16), Interval(31, 44)], 60)
    ([[0, 12]], [[0, 45]])
    """
    last = max(1, math.floor(duration))
    ends = [(round(each.start), min(round(each.end), last)) for each in intervals.snap_to_grid(segments)]
    return [[min(start, end - 1), end] for start, end in ends]


def song_mid(recording_id: int) -> str:
    """A song's alternative id: the recording id in base 62, with 14 characters.

    >>> song_mid(521340020)
    '000000000zhum0'
    """
    digits = ""
    while recording_id:
        recording_id, digit = divmod(recording_id, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(_MID_LENGTH, "0")


def moment(text: str) -> str:
    """An ISO 8601 time in Tencent's format; empty for an empty one.

    >>> moment("2025-06-13T12:08:20.250+00:00")
    '2025-06-13T12:08:20Z'
    """
    return f"{text[:19]}Z" if text else ""


def _analysis_result(job: Job) -> Object:
    number, name, message = failure(job)
    options = job.options.get("tencent", {})
    output = None
    if job.result is not None and job.state == "finished":
        output = {
            "TagSet": tag_set(
                job.result, min_confidence=options.get("min_confidence", 0.0), max_results=options.get("max_results")
            )
        }
    status = "SUCCESS" if output else "FAIL" if number else "PROCESSING"
    given = {"Definition": options.get("definition", 21)}
    if options.get("extended_parameter"):
        given["ExtendedParameter"] = options["extended_parameter"]
    return {
        "Type": "Tag",
        "ClassificationTask": None,
        "CoverTask": None,
        "DeLogoTask": None,
        "DescriptionTask": None,
        "FrameTagTask": None,
        "HeadTailTask": None,
        "HighlightTask": None,
        "HorizontalToVerticalTask": None,
        "SegmentTask": None,
        "TagTask": {
            "Status": status,
            "ErrCode": number,
            "ErrCodeExt": name,
            "Message": message or ("SUCCESS" if output else ""),
            "Input": given,
            "Output": output,
            "Progress": 100 if job.finished_at else math.floor(100 * job.progress),
            "BeginProcessTime": moment(job.started_at),
            "FinishTime": moment(job.finished_at),
        },
    }


def _tag(song: Mapping[str, Any], segments: list[Mapping[str, Any]], duration: float) -> tuple[float, float, Object]:
    """A song's confidence, its start in seconds and its TagSet item. `duration` is that of the input."""
    segments = sorted(segments, key=lambda segment: segment["start"])
    named = next(
        recording
        for segment in segments
        for recording in (segment["original"], segment["recording"])
        if recording is not None and recording["id"] == song["original"]
    )
    best = max(segments, key=lambda segment: segment["confidence"])
    confidence = round(best["confidence"], 1)
    singers = _singers(named, segments)
    played = segment_list([Interval(segment["start"], segment["end"]) for segment in segments], duration)
    title = named["title"] or PurePath(named["source"]).stem
    info = {
        "song_name": title,
        "album_name": named["album"],
        "singer_name": singers[0] if singers else "",
        "other_singer_list": [{"singer_name": singer} for singer in singers[1:]],
        "song_mid": str(_field(named, "song_mid") or song_mid(named["id"])),
        "song_id": _song_id(named),
        "reference_start": played[0][0],
        "reference_end": played[-1][1],
        "segment_list": played,
        # Extensions that Tencent's API does not have.
        "match_type": best["kind"],
        "isrc": named["isrc"],
        "recording_mbid": named["musicbrainz_recording_id"],
        "work": song["work"],
        "seconds": song["seconds"],
        "share": song["share"],
        "segments": [
            {
                "start": segment["start"],
                "end": segment["end"],
                "reference_start": segment["reference_start"],
                "reference_end": segment["reference_end"],
                "match_type": segment["kind"],
                "confidence": segment["confidence"],
                "tempo_ratio": segment["speed"],
                "pitch_semitones": segment["key_shift"],
                "song_id": _song_id(segment["recording"]),
                "song_name": segment["recording"]["title"],
            }
            for segment in segments
        ],
    }
    tag = {"Tag": title, "Confidence": confidence, "SpecialInfo": json.dumps(info)}
    return confidence, segments[0]["start"], tag


def _field(recording: Mapping[str, Any], name: str) -> str | int | float:
    """A user field of a recording that is text or a number, without white space around it; "" if there is none."""
    value = recording.get("fields", {}).get(name, "")  # results of older versions have no user fields
    return "" if isinstance(value, bool) else value.strip() if isinstance(value, str) else value


def _song_id(recording: Mapping[str, Any]) -> int:
    """The user field `song_id` if it is a whole number, which Tencent's type requires; else the id of the recording."""
    text = str(_field(recording, "song_id"))
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else int(recording["id"])


def _singers(named: Mapping[str, Any], segments: Iterable[Mapping[str, Any]]) -> list[str]:
    """The first singer, then the others: those in the user field `other_singer_list`, separated by semicolons.

    Without that field, the others are the further artists of the named recording and of the matching recordings.
    """
    own = list(named["artists"])
    given = [name.strip() for name in re.split("[;\uff1b]", str(_field(named, "other_singer_list")))]
    if any(given):
        others = list(filter(None, given))
    else:
        others = [*own[1:], *(singer for segment in segments for singer in segment["recording"]["artists"])]
    return list(dict.fromkeys([*(own[:1] or others[:1]), *others]))


def _notify_config(callback: Mapping[str, Any] | None) -> Object | None:
    if not callback:
        return None
    return {
        "NotifyType": "URL",
        "NotifyMode": "Change" if callback.get("mode") == "change" else "Finish",
        "NotifyUrl": callback["url"],
        "NotifyKey": MASK if callback.get("secret") else "",
        "CmqModel": "",
        "CmqRegion": "",
        "QueueName": "",
        "TopicName": "",
        "AwsSQS": None,
    }


def _duration(streams: list[Mapping[str, Any]], media: Mapping[str, Any]) -> float:
    return (streams[0]["duration"] or media["duration"]) if streams else 0.0
