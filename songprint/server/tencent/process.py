"""ProcessMedia: what a request asks for -> a job, as the REST API would submit it.

The input is fetched later, by a worker; only what can be told at once is refused at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from songprint.config import ServerSettings
from songprint.errors import DuplicateSession, FetchError, QueueFull
from songprint.outside import fetch
from songprint.outside.fetch import Rules
from songprint.outside.storage import Storage, is_bucket, object_name
from songprint.server.tencent import results
from songprint.server.tencent.parameters import Parameters
from songprint.server.tencent.signatures import Refused

if TYPE_CHECKING:
    from songprint.jobs.jobs import Job, Jobs

PRESET = 21  # the template of music identification
PROCESS_TYPE = "1102"  # music identification among what the template can do
OWN = "songprint"  # our own wishes within ExtendedParameter, where Tencent's programs put none

_NOT_HERE = (
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
        *_NOT_HERE,
    }
)
_NOTIFY_TYPES_NOT_HERE = ("TDMQ-CMQ", "CMQ", "SCF", "AWS-SQS")
_OFFLINE_PRIORITY = -10  # when there is nothing else to do
_MOST_RESULTS = 1000


@dataclass(frozen=True)
class Wish:
    """What a request asks for, as `Jobs.submit` takes it."""

    input: dict
    options: dict
    priority: int
    session_id: str
    session_context: str


def submit(jobs: Jobs, key_id: str, parameters: Parameters, settings: ServerSettings) -> Job:
    """Queue the job that a request asks for."""
    wish = read(parameters, settings)
    try:
        return jobs.submit(
            wish.input,
            wish.options,
            priority=wish.priority,
            key_id=key_id,
            session_id=wish.session_id,
            session_context=wish.session_context,
            most_waiting=settings.max_waiting,
        )
    except DuplicateSession as error:
        raise Refused(
            "InvalidParameterValue.SessionId", "A task with this SessionId was created less than three days ago."
        ) from error
    except QueueFull as error:
        raise Refused("LimitExceeded.CreateTask", "Too many tasks are waiting. Try again later.") from error


def read(parameters: Parameters, settings: ServerSettings) -> Wish:
    """The wish in a request; Refused for what makes no sense or is not offered here."""
    parameters.only(NAMES)
    storage = Storage(settings)
    input = read_input(parameters.needed("InputInfo"), storage, Rules.of_inputs(settings))
    for name in _NOT_HERE:
        if parameters.either(name):
            raise Refused("UnsupportedOperation", f"`{name}` is not offered here: only music identification is.")
    analysis = parameters.object("AiAnalysisTask")
    if analysis is None:
        raise Refused("InvalidParameter", "The request asks for no task: give `AiAnalysisTask`.")
    shown, kinds = _analysis(analysis)
    options = {"tencent": shown | {"no_metadata": parameters.truth("SkipMateData") is True}}
    if kinds is not None:
        options["kinds"] = kinds
    notified = parameters.object("TaskNotifyConfig")
    callback = _callback(notified, Rules.of_callbacks(settings)) if notified is not None else None
    if callback is not None:
        options["callback"] = callback
    output = _output(parameters, storage, settings.app_id)
    if output is not None:
        options["output"] = output
    return Wish(
        input=input,
        options=options,
        priority=_priority(parameters),
        session_id=parameters.text("SessionId", longest=50, code="InvalidParameterValue.SessionIdTooLong"),
        session_context=parameters.text(
            "SessionContext", longest=1000, code="InvalidParameterValue.SessionContextTooLong"
        ),
    )


def read_input(info: Parameters, storage: Storage, rules: Rules) -> dict:
    """The location that an `InputInfo` names."""
    kind = info.text("Type", required=True).upper()
    if kind == "URL":
        url = info.needed("UrlInputInfo").text("Url", required=True)
        _check_url(url, rules)
        return {"type": "url", "url": url}
    if kind == "COS":
        found = info.needed("CosInputInfo")
        location = {
            "type": "cos",
            "bucket": found.text("Bucket", required=True),
            "region": found.text("Region", required=True),
            "object": found.text("Object", required=True),
        }
    elif kind == "AWS-S3":
        found = info.needed("S3InputInfo")
        location = {
            "type": "s3",
            "bucket": found.text("S3Bucket", required=True),
            "region": found.text("S3Region"),
            "object": found.text("S3Object", required=True),
            **_own_key(found),
        }
    elif kind == "VOD":
        raise Refused("UnsupportedOperation", "Inputs of VOD are not offered here: give URL, COS or AWS-S3.")
    else:
        raise Refused("InvalidParameterValue.InputInfo", "`InputInfo.Type` must be URL, COS or AWS-S3.")
    _check_location(location, storage)
    return location


def _check_url(url: str, rules: Rules) -> None:
    try:
        fetch.check(url, rules)
    except FetchError as error:
        raise Refused("InvalidParameter.InvalidUrl", f"{error}.") from error


def _check_location(location: dict, storage: Storage) -> None:
    if not is_bucket(location["bucket"]):
        raise Refused("ResourceNotFound.CosBucketNameInvalid", "The name of the bucket is not one that can exist.")
    if not storage.knows(location):
        raise Refused("ResourceNotFound.CosBucketNotExist", "The bucket is in none of this server's stores.")
    try:
        object_name(location["object"])
    except FetchError as error:
        raise Refused("InvalidParameterValue.InputInfo", f"{error}.") from error


def _own_key(found: Parameters) -> dict[str, str]:
    """The key that comes with a bucket of S3, under names that are never told again."""
    if not found.text("S3SecretId"):
        return {}
    return {"secret_id": found.text("S3SecretId"), "secret_key": found.text("S3SecretKey", required=True)}


def _analysis(analysis: Parameters) -> tuple[dict, list[str] | None]:
    """What of the task is told again with the result, and the kinds of match that are asked for."""
    if "Definition" not in analysis:
        raise Refused("MissingParameter", "The request is missing a required parameter: `AiAnalysisTask.Definition`.")
    definition = analysis.number("Definition", 0)
    if definition != PRESET:
        raise Refused(
            "InvalidParameterValue.Definition", f"There is no template {definition}: {PRESET} is music identification."
        )
    written = analysis.either("ExtendedParameter")
    extended = _extended(written)
    tag = extended.object("tag")
    process_type = tag.either("process_type") if tag is not None else None
    if str(process_type or PROCESS_TYPE) != PROCESS_TYPE:
        raise Refused("InvalidParameterValue", f"`process_type` must be {PROCESS_TYPE}: music identification.")
    own = extended.object(OWN) or Parameters({})
    own.only({"covers", "min_confidence", "max_results"})
    shown: dict[str, object] = {"definition": PRESET}
    if written:
        shown["extended_parameter"] = written if isinstance(written, str) else json.dumps(written)
    if "min_confidence" in own:
        shown["min_confidence"] = own.number("min_confidence", 0, least=0, most=100)
    if "max_results" in own:
        shown["max_results"] = own.number("max_results", 0, least=1, most=_MOST_RESULTS)
    covers = own.truth("covers")
    return shown, None if covers is None else ["recording", "cover"] if covers else ["recording"]


def _extended(written: object) -> Parameters:
    """`ExtendedParameter` is JSON within a string. Some escape it twice, some forget to."""
    if isinstance(written, dict):
        return Parameters(written, "ExtendedParameter")
    for text in (written, str(written).replace('\\"', '"')):
        try:
            values = json.loads(text) if text else {}
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(values, dict):
            return Parameters(values, "ExtendedParameter")
    raise Refused(
        "InvalidParameterValue",
        "`AiAnalysisTask.ExtendedParameter` must be a string of JSON, as "
        '"{\\"tag\\":{\\"process_type\\":\\"1102\\"}}".',
    )


def _callback(config: Parameters, rules: Rules) -> dict | None:
    kind, url = config.text("NotifyType"), config.text("NotifyUrl")
    if not kind and not url:
        if any(name in config for name in ("CmqModel", "QueueName", "TopicName", "AwsSQS")):
            raise _not_notified("TDMQ-CMQ")  # what an empty type means to Tencent
        return None
    if kind.upper() in _NOTIFY_TYPES_NOT_HERE:
        raise _not_notified(kind)
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


def _not_notified(kind: str) -> Refused:
    return Refused("UnsupportedOperation", f"Notifications by {kind} are not offered here: give NotifyType URL.")


def _output(parameters: Parameters, storage: Storage, app_id: int) -> dict | None:
    """Where the result is written besides; None where nothing is asked for or no store has that bucket.

    Tencent's clients must name an output though nothing useful is written there: that is no reason to refuse one.
    """
    folder = parameters.text("OutputDir", longest=1000)
    if folder and not (folder.startswith("/") and folder.endswith("/")):
        raise Refused("InvalidParameterValue", "`OutputDir` must begin and end with a slash.")
    wanted = parameters.object("OutputStorage")
    if wanted is None:
        return None
    kind = wanted.text("Type", required=True).upper()
    if kind == "COS":
        found = wanted.needed("CosOutputStorage")
        place = {"type": "cos", "bucket": found.text("Bucket", required=True), "region": found.text("Region")}
    elif kind == "AWS-S3":
        found = wanted.needed("S3OutputStorage")
        place = {
            "type": "s3",
            "bucket": found.text("S3Bucket", required=True),
            "region": found.text("S3Region"),
            **_own_key(found),
        }
    elif kind == "VOD":
        raise Refused("UnsupportedOperation", "Outputs to VOD are not offered here: give COS or AWS-S3.")
    else:
        raise Refused("InvalidParameterValue", "`OutputStorage.Type` must be COS or AWS-S3.")
    if not storage.knows(place):
        return None
    try:
        object_name(f"{folder}name")
    except FetchError as error:
        raise Refused("InvalidParameterValue", "`OutputDir` is not the name of a folder.") from error
    return place | {"dir": folder or "/", "style": results.RESULT, "name": f"{results.task_id('{id}', app_id)}.json"}


def _priority(parameters: Parameters) -> int:
    priority = parameters.number("TasksPriority", 0, least=-10, most=10)
    kind = parameters.text("TaskType") or "Online"
    if kind not in ("Online", "Offline"):
        raise Refused("InvalidParameterValue", "`TaskType` must be Online or Offline.")
    return priority if kind == "Online" else _OFFLINE_PRIORITY
