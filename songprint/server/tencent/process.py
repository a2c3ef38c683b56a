"""ProcessMedia: converts a request to the job that the REST API would submit.

A worker fetches the input later. This module refuses only what is wrong without fetching it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from songprint.config import ServerSettings
from songprint.errors import DuplicateSession, FetchError, QueueFull
from songprint.outside import fetch
from songprint.outside.fetch import Rules
from songprint.outside.storage import Storage, is_bucket, object_name
from songprint.server.tencent import results, templates
from songprint.server.tencent.parameters import Parameters
from songprint.server.tencent.signatures import Refused
from songprint.server.tencent.templates import PRESET, Template

if TYPE_CHECKING:
    from songprint.jobs.jobs import Job, Jobs

PROCESS_TYPE = "1102"  # music identification among the template's functions

_UNSUPPORTED = (
    "MediaProcessTask",
    "AiContentReviewTask",
    "AiRecognitionTask",
    "AiQualityControlTask",
    "SmartSubtitlesTask",
    "SmartEraseTask",
    "AIDubbingTask",
    "Activities",
    "ScheduleId",
)
NAMES = frozenset(
    {
        "InputInfo",
        "OutputStorage",
        "OutputDir",
        "AiAnalysisTask",
        "TaskNotifyConfig",
        "TasksPriority",
        "SessionId",
        "SessionContext",
        "TaskType",
        "ResourceId",
        "SkipMateData",
        *_UNSUPPORTED,
    }
)
_UNSUPPORTED_NOTIFY_TYPES = ("TDMQ-CMQ", "CMQ", "SCF", "AWS-SQS")
_OFFLINE_PRIORITY = -10  # the lowest


@dataclass(frozen=True)
class JobRequest:
    """A validated request, as `Jobs.submit` takes it."""

    input: dict[str, Any]
    options: dict[str, Any]
    priority: int
    session_id: str
    session_context: str


def submit(
    jobs: Jobs, key_id: str, parameters: Parameters, settings: ServerSettings, find: Callable[[int], Template | None]
) -> Job:
    """Queue the job that a request describes. `find` returns a custom template that the key may use."""
    request = read(parameters, settings, find)
    try:
        return jobs.submit(
            request.input,
            request.options,
            priority=request.priority,
            key_id=key_id,
            session_id=request.session_id,
            session_context=request.session_context,
            max_waiting=settings.max_waiting,
        )
    except DuplicateSession as error:
        raise Refused(
            "InvalidParameterValue.SessionId", "A task with this SessionId was created less than three days ago."
        ) from error
    except QueueFull as error:
        raise Refused("LimitExceeded.CreateTask", "Too many tasks are waiting. Try again later.") from error


def read(
    parameters: Parameters, settings: ServerSettings, find: Callable[[int], Template | None] = lambda definition: None
) -> JobRequest:
    """Validate a request; raises Refused for invalid and unsupported parameters."""
    parameters.only(NAMES)
    storage = Storage(settings)
    input = read_input(parameters.required_object("InputInfo"), storage, Rules.of_inputs(settings))
    for name in _UNSUPPORTED:
        if parameters.raw(name):
            raise Refused(
                "UnsupportedOperation", "`{name}` is not supported: this server only identifies music.", name=name
            )
    analysis = parameters.nested("AiAnalysisTask")
    if analysis is None:
        raise Refused("InvalidParameter", "The request contains no task: send `AiAnalysisTask`.")
    shown, kinds = _analysis(analysis, find)
    options: dict[str, Any] = {"tencent": shown | {"no_metadata": parameters.boolean("SkipMateData") is True}}
    if kinds is not None:
        options["kinds"] = kinds
    notified = parameters.nested("TaskNotifyConfig")
    callback = _callback(notified, Rules.of_callbacks(settings)) if notified is not None else None
    if callback is not None:
        options["callback"] = callback
    output = _output(parameters, storage, settings.app_id)
    if output is not None:
        options["output"] = output
    return JobRequest(
        input=input,
        options=options,
        priority=_priority(parameters),
        session_id=parameters.text("SessionId", longest=50, code="InvalidParameterValue.SessionIdTooLong"),
        session_context=parameters.text(
            "SessionContext", longest=1000, code="InvalidParameterValue.SessionContextTooLong"
        ),
    )


def read_input(info: Parameters, storage: Storage, rules: Rules) -> dict[str, Any]:
    """The location in an `InputInfo`, as `Jobs.submit` takes it."""
    kind = info.text("Type", required=True).upper()
    if kind == "URL":
        url = info.required_object("UrlInputInfo").text("Url", required=True)
        _check_url(url, rules)
        return {"type": "url", "url": url}
    if kind == "COS":
        found = info.required_object("CosInputInfo")
        location = {
            "type": "cos",
            "bucket": found.text("Bucket", required=True),
            "region": found.text("Region", required=True),
            "object": found.text("Object", required=True),
        }
    elif kind == "AWS-S3":
        found = info.required_object("S3InputInfo")
        location = {
            "type": "s3",
            "bucket": found.text("S3Bucket", required=True),
            "region": found.text("S3Region"),
            "object": found.text("S3Object", required=True),
            **_own_key(found),
        }
    elif kind == "VOD":
        raise Refused("UnsupportedOperation", "VOD inputs are not supported: send URL, COS or AWS-S3.")
    else:
        raise Refused("InvalidParameterValue.InputInfo", "`InputInfo.Type` must be URL, COS or AWS-S3.")
    _check_location(location, storage)
    return location


def _check_url(url: str, rules: Rules) -> None:
    try:
        fetch.check(url, rules)
    except FetchError as error:
        raise Refused("InvalidParameter.InvalidUrl", "{reason}.", reason=error) from error


def _check_location(location: dict[str, Any], storage: Storage) -> None:
    if not is_bucket(location["bucket"]):
        raise Refused("ResourceNotFound.CosBucketNameInvalid", "The name of the bucket is malformed.")
    if not storage.has_bucket(location):
        raise Refused("ResourceNotFound.CosBucketNotExist", "None of this server's object stores has this bucket.")
    try:
        object_name(location["object"])
    except FetchError as error:
        raise Refused("InvalidParameterValue.InputInfo", "{reason}.", reason=error) from error


def _own_key(found: Parameters) -> dict[str, str]:
    """The credentials of an S3 bucket, under names that are never returned to clients."""
    if not found.text("S3SecretId"):
        return {}
    return {"secret_id": found.text("S3SecretId"), "secret_key": found.text("S3SecretKey", required=True)}


def _analysis(analysis: Parameters, find: Callable[[int], Template | None]) -> tuple[dict[str, Any], list[str] | None]:
    """The options that the result returns, and the requested kinds of match; None: all kinds."""
    if "Definition" not in analysis:
        raise Refused(
            "MissingParameter",
            "The request is missing a required parameter: `{name}`.",
            name="AiAnalysisTask.Definition",
        )
    definition = analysis.number("Definition", 0)
    written = analysis.raw("ExtendedParameter")
    extended = _extended(written)
    tag = extended.nested("tag")
    process_type = tag.raw("process_type") if tag is not None else None
    if str(process_type or PROCESS_TYPE) != PROCESS_TYPE:
        raise Refused(
            "InvalidParameterValue",
            "`process_type` must be {process_type} (music identification).",
            process_type=PROCESS_TYPE,
        )
    chosen = _template_options(definition, find, is_music=bool(process_type)) | templates.own_options(extended)
    covers = chosen.pop("covers", None)
    shown: dict[str, object] = {"definition": definition, **chosen}
    if written:
        shown["extended_parameter"] = written if isinstance(written, str) else json.dumps(written)
    return shown, None if covers is None else ["recording", "cover"] if covers else ["recording"]


def _template_options(definition: int, find: Callable[[int], Template | None], *, is_music: bool) -> dict[str, Any]:
    """The options of a template; the request is refused if there is none with this number.

    `is_music` means that the request itself selects music identification. Then the number may also be one that Tencent
    gave to a template of its account, so that a program keeps the number that it used there.
    """
    if definition == PRESET:
        return {}
    template = find(definition)
    if template is None:
        if is_music and definition in templates.TENCENTS_NUMBERS:
            return {}
        raise Refused(
            "InvalidParameterValue.Definition",
            "There is no template {definition}. The template of music identification is {preset}.",
            definition=definition,
            preset=PRESET,
        )
    if not template.identifies_music:
        raise Refused(
            "InvalidParameterValue.Definition",
            "The template {definition} does not identify music: its `TagConfigure.Switch` is OFF.",
            definition=definition,
        )
    return template.own_options()


def _extended(written: object) -> Parameters:
    """`ExtendedParameter` is JSON in a string. Some clients escape it twice, others send an object."""
    if isinstance(written, dict):
        return Parameters(written, "ExtendedParameter")
    text = str(written) if written else ""
    for attempt in (text, text.replace('\\"', '"')):
        try:
            values = json.loads(attempt) if attempt else {}
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(values, dict):
            return Parameters(values, "ExtendedParameter")
    raise Refused(
        "InvalidParameterValue",
        "`AiAnalysisTask.ExtendedParameter` must be a string of JSON such as {example}.",
        example='"{\\"tag\\":{\\"process_type\\":\\"1102\\"}}"',
    )


def _callback(config: Parameters, rules: Rules) -> dict[str, Any] | None:
    kind, url = config.text("NotifyType"), config.text("NotifyUrl")
    if not kind and not url:
        if any(name in config for name in ("CmqModel", "QueueName", "TopicName", "AwsSQS")):
            raise _unsupported_notification("TDMQ-CMQ")  # Tencent's meaning of an empty type
        return None
    if kind.upper() in _UNSUPPORTED_NOTIFY_TYPES:
        raise _unsupported_notification(kind)
    if kind.upper() not in ("", "URL"):
        raise Refused("InvalidParameterValue", "`TaskNotifyConfig.NotifyType` must be URL.")
    mode = config.text("NotifyMode") or "Finish"
    if mode.lower() not in ("finish", "change"):
        raise Refused("InvalidParameterValue", "`TaskNotifyConfig.NotifyMode` must be Finish or Change.")
    _check_url(config.text("NotifyUrl", required=True), rules)
    return {
        "url": url,
        "style": results.CALLBACK,
        "secret": config.text("NotifyKey", longest=1000),
        "mode": mode.lower(),
    }


def _unsupported_notification(kind: str) -> Refused:
    return Refused("UnsupportedOperation", "Notifications by {kind} are not supported: send NotifyType URL.", kind=kind)


def _output(parameters: Parameters, storage: Storage, app_id: int) -> dict[str, Any] | None:
    """Where the result is also written; None without a request for it, or if no object store has the bucket.

    Tencent's clients must name an output bucket, so an unknown one is not an error.
    """
    folder = parameters.text("OutputDir", longest=1000)
    if folder and not (folder.startswith("/") and folder.endswith("/")):
        raise Refused("InvalidParameterValue", "`OutputDir` must begin and end with a slash.")
    wanted = parameters.nested("OutputStorage")
    if wanted is None:
        return None
    kind = wanted.text("Type", required=True).upper()
    if kind == "COS":
        found = wanted.required_object("CosOutputStorage")
        place = {"type": "cos", "bucket": found.text("Bucket", required=True), "region": found.text("Region")}
    elif kind == "AWS-S3":
        found = wanted.required_object("S3OutputStorage")
        place = {
            "type": "s3",
            "bucket": found.text("S3Bucket", required=True),
            "region": found.text("S3Region"),
            **_own_key(found),
        }
    elif kind == "VOD":
        raise Refused("UnsupportedOperation", "VOD outputs are not supported: send COS or AWS-S3.")
    else:
        raise Refused("InvalidParameterValue", "`OutputStorage.Type` must be COS or AWS-S3.")
    if not storage.has_bucket(place):
        return None
    try:
        object_name(f"{folder}name")
    except FetchError as error:
        raise Refused("InvalidParameterValue", "`OutputDir` is not a valid folder name.") from error
    return place | {"dir": folder or "/", "style": results.RESULT, "name": f"{results.task_id('{id}', app_id)}.json"}


def _priority(parameters: Parameters) -> int:
    priority = parameters.number("TasksPriority", 0, least=-10, most=10)
    kind = parameters.text("TaskType") or "Online"
    if kind not in ("Online", "Offline"):
        raise Refused("InvalidParameterValue", "`TaskType` must be Online or Offline.")
    return priority if kind == "Online" else _OFFLINE_PRIORITY
