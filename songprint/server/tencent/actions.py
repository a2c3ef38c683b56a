"""The supported actions of Tencent's API: each reads the parameters of a call and returns the response."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.errors import AudioError, FetchError, JobNotFound, JobStateError
from songprint.outside import fetch
from songprint.outside.fetch import Rules
from songprint.outside.storage import Storage
from songprint.processes.pool import Busy, Crashed, LimitExceeded
from songprint.server import operations
from songprint.server.tencent import known, process, results, templates
from songprint.server.tencent.parameters import Parameters
from songprint.server.tencent.results import Object
from songprint.server.tencent.signatures import Refused
from songprint.server.tencent.templates import Templates

if TYPE_CHECKING:
    from songprint.accounts.keys import Key
    from songprint.jobs.jobs import Job
    from songprint.server.state import ServerState

STATES = {"WAITING": ("waiting",), "PROCESSING": ("running",), "FINISH": ("finished", "failed", "cancelled")}
FAILED = ("failed", "cancelled")
PROBE_SECONDS = 50.0  # for DescribeMediaMetaData; the SDKs time out after 60
_PROBES = threading.BoundedSemaphore(2)  # each blocks a thread while it fetches its file
_MOST_DAYS = 366  # of a usage report
_EVENT_FIELDS = frozenset(
    {
        "EventType",
        "WorkflowTaskEvent",
        "ScheduleTaskEvent",
        "LiveScheduleTaskEvent",
        "EditMediaTaskEvent",
        "GetMediaAttributesTaskEvent",
        "LiveStreamProcessTaskEvent",
        "ExtractBlindWatermarkTask",
        "SessionId",
        "SessionContext",
        "ExtInfo",
        "Timestamp",
        "Sign",
    }
)


@dataclass(frozen=True)
class Call:
    """One authenticated request."""

    server: ServerState
    key: Key
    parameters: Parameters

    @property
    def app_id(self) -> int:
        return self.server.settings.server.app_id

    @property
    def templates(self) -> Templates:
        return Templates(self.server.library.store.catalog.database)

    @property
    def visible_keys(self) -> list[str] | None:
        """The keys whose tasks and templates the caller may see; None: all keys."""
        return self.server.keys.visible_to(self.key)

    def job(self, task_id: str) -> Job | None:
        """The job with this task id; None if there is none that the caller may see."""
        job_id = results.job_id(task_id)
        try:
            job = self.server.jobs.get(job_id) if job_id else None
        except JobNotFound:
            return None
        visible = self.visible_keys
        return job if job is not None and (visible is None or job.key_id in visible) else None


def process_media(call: Call) -> Object:
    visible = call.visible_keys
    job = process.submit(
        call.server.jobs,
        call.key.id,
        call.parameters,
        call.server.settings.server,
        lambda definition: call.templates.find(definition, visible),
    )
    return {"TaskId": results.task_id(job.id, call.app_id)}


def describe_task_detail(call: Call) -> Object:
    call.parameters.only({"TaskId"})
    task_id = call.parameters.text("TaskId", required=True)
    job = call.job(task_id)
    if job is None:
        raise Refused("ResourceNotFound", "There is no task with this TaskId.")
    return results.task_detail(job, call.app_id)


def describe_tasks(call: Call) -> Object:
    """Latest first. The scroll token is the id of the last task on the page."""
    given = call.parameters
    given.only({"Status", "SubTaskHasFailed", "Limit", "ScrollToken", "StartTime", "EndTime"})
    status = given.text("Status", required=True)
    if status not in STATES:
        raise Refused("InvalidParameterValue", "`Status` must be WAITING, PROCESSING or FINISH.")
    states, failed = STATES[status], given.boolean("SubTaskHasFailed")
    if failed is not None:
        states = tuple(state for state in states if (state in FAILED) == failed)
    limit = given.number("Limit", 10, least=1, most=100, code="InvalidParameterValue.Limit")
    keys, since, until = call.visible_keys, _moment(given, "StartTime"), _moment(given, "EndTime")
    token = given.text("ScrollToken")
    last = call.job(token) if token else None
    if token and last is None:
        raise Refused("InvalidParameterValue", "`ScrollToken` must be one that DescribeTasks returned.")
    found, total = [], 0
    if states:
        before = last.id if last else ""
        found = call.server.jobs.find(
            state=states, key_id=keys, since=since, until=until, limit=limit + 1, before=before
        )
        total = call.server.jobs.count(state=states, key_id=keys, since=since, until=until)
    shown = found[:limit]
    return {
        "TaskSet": [results.task_item(job, call.app_id) for job in shown],
        "ScrollToken": results.task_id(shown[-1].id, call.app_id) if len(found) > limit else "",
        "TotalCount": total,
    }


def manage_task(call: Call) -> Object:
    """Abort a waiting task. Only the REST API can cancel a running one."""
    call.parameters.only({"OperationType", "TaskId"})
    operation = call.parameters.text("OperationType", required=True)
    task_id = call.parameters.text("TaskId", required=True)
    if operation != "Abort":
        raise Refused("InvalidParameterValue.InvalidOperationType", "`OperationType` must be Abort.")
    job = call.job(task_id)
    if job is None:
        raise Refused("InvalidParameterValue.TaskId", "There is no task with this TaskId.")
    try:
        call.server.jobs.cancel(job.id, running=False)
    except JobStateError as error:
        raise Refused("InvalidParameterValue.NotProcessingTask", "Only a waiting task can be aborted.") from error
    call.server.audit.note(call.key.id, "jobs.cancel", job.id)
    return {}


def parse_notification(call: Call) -> Object:
    call.parameters.only({"Content"})
    content = call.parameters.text("Content", required=True)
    try:
        event = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(
            "InvalidParameterValue.InvalidContent", "`Content` must be the JSON of a notification."
        ) from error
    if not isinstance(event, dict) or not event.get("EventType"):
        raise Refused("InvalidParameterValue.InvalidContent", "`Content` has no `EventType`.")
    return {name: value for name, value in event.items() if name in _EVENT_FIELDS}


def create_template(call: Call) -> Object:
    call.parameters.only({"Name", "Comment", *templates.CONFIGURES})
    made = call.templates.create(call.key.id, templates.changes(call.parameters))
    call.server.audit.note(call.key.id, "templates.create", f"{made.definition} {made.name}".rstrip())
    return {"Definition": made.definition}


def modify_template(call: Call) -> Object:
    """Change the fields that the request contains."""
    definition = _definition(call, {"Name", "Comment", *templates.CONFIGURES})
    if definition == templates.PRESET:
        raise Refused("InvalidParameterValue.ModifyDefaultTemplate", "The preset template cannot be changed.")
    changed = call.templates.modify(definition, call.visible_keys, templates.changes(call.parameters))
    if changed is None:
        raise Refused("ResourceNotFound.TemplateNotExist", "There is no such template.")
    call.server.audit.note(call.key.id, "templates.modify", f"{definition} {changed.name}".rstrip())
    return {}


def delete_template(call: Call) -> Object:
    """Delete a template. Tasks that were submitted with it keep its options."""
    definition = _definition(call, set())
    if definition == templates.PRESET:
        raise Refused("InvalidParameterValue.DeleteDefaultTemplate", "The preset template cannot be deleted.")
    if not call.templates.delete(definition, call.visible_keys):
        raise Refused("ResourceNotFound.TemplateNotExist", "There is no such template.")
    call.server.audit.note(call.key.id, "templates.delete", str(definition))
    return {}


def _definition(call: Call, more: set[str]) -> int:
    call.parameters.only({"Definition", *more})
    if "Definition" not in call.parameters:
        raise Refused("MissingParameter", "The request is missing a required parameter: `{name}`.", name="Definition")
    return call.parameters.number("Definition", 0)


def describe_templates(call: Call) -> Object:
    """The preset and the visible custom templates, by number."""
    given = call.parameters
    given.only({"Definitions", "Offset", "Limit", "Type", "Name"})
    wanted = given.numbers("Definitions", most=100)
    offset = given.number("Offset", 0, least=0, most=10**9)
    limit = given.number("Limit", 10, least=1, most=100, code="InvalidParameterValue.Limit")
    kind = given.text("Type")
    name = given.text("Name", longest=templates.MOST_NAME, code="InvalidParameterValue.Name")
    if kind not in ("", "Preset", "Custom"):
        raise Refused("InvalidParameterValue.Type", "`Type` must be Preset or Custom.")
    preset = [templates.PRESET_TEMPLATE] if kind != "Custom" else []
    custom = call.templates.all(call.visible_keys) if kind != "Preset" else []
    found = [
        templates.template_object(each)
        for each in (*preset, *custom)
        if (not wanted or each.definition in wanted) and name in ("", each.name)
    ]
    return {"TotalCount": len(found), "AIAnalysisTemplateSet": found[offset : offset + limit]}


def describe_metadata(call: Call) -> Object:
    """The container and streams of a file, which is fetched while the client waits."""
    call.parameters.only({"InputInfo", "Mode"})
    settings = call.server.settings.server
    rules = replace(Rules.of_inputs(settings), timeout=min(PROBE_SECONDS, settings.fetch_timeout))
    storage = Storage(settings, rules)
    location = process.read_input(call.parameters.required_object("InputInfo"), storage, rules)
    if not _PROBES.acquire(blocking=False):
        raise Refused("RequestLimitExceeded", "Too many files are being probed. Try again in a moment.")
    try:
        with tempfile.TemporaryDirectory(prefix="songprint-probe-") as folder:
            path = Path(folder) / "input"
            if location["type"] == "url":
                fetch.download(location["url"], path, rules)
            else:
                storage.read(location, path)
            found = call.server.queries.submit(operations.describe, time_limit=PROBE_SECONDS, path=str(path)).result()
    except FetchError as error:
        code = "InvalidParameter.InvalidUrl" if error.code == "input_refused" else "ResourceNotFound.DownloadError"
        raise Refused(code, "The input cannot be fetched: {reason}.", reason=error) from error
    except AudioError as error:
        raise Refused("InvalidParameterValue.SrcFile", "The input is not readable audio or video.") from error
    except (Busy, Crashed, LimitExceeded) as error:
        raise Refused("FailedOperation", "The input cannot be probed now: {reason}.", reason=error) from error
    finally:
        _PROBES.release()
    return {"MetaData": results.metadata(found)}


def describe_usage(call: Call) -> Object:
    """Seconds of input for each UTC day, including days without any."""
    given = call.parameters
    given.only({"StartTime", "EndTime", "Types", "ProcessRegions"})
    first, last = _day(given, "StartTime"), _day(given, "EndTime")
    if not 0 <= (last - first).days < _MOST_DAYS:
        raise Refused(
            "InvalidParameterValue", "`EndTime` must lie 0 to {days} days after `StartTime`.", days=_MOST_DAYS
        )
    types = given.texts("Types", most=100)
    given.texts("ProcessRegions", most=100)
    if types and "AIAnalysis" not in types:
        return {"Data": []}
    used = call.server.usage.by_day(call.visible_keys, first.isoformat(), last.isoformat())
    rows = []
    for number in range((last - first).days + 1):
        day = (first + timedelta(days=number)).isoformat()
        rows_of_day = [each for each in used if each.day == day]
        rows.append(
            {
                "Time": f"{day}T00:00:00Z",
                "Count": sum(each.jobs + each.queries for each in rows_of_day),
                "Usage": round(sum(each.seconds for each in rows_of_day)),
            }
        )
    return {
        "Data": [{"TaskType": "AIAnalysis", "Summary": rows, "Details": [{"Specification": "VideoTag", "Data": rows}]}]
    }


def _moment(given: Parameters, name: str) -> str:
    """A parameter with an ISO 8601 time, unchanged; "" if it is absent."""
    text = given.text(name)
    if text:
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise Refused(
                "InvalidParameterValue", "`{name}` must be a time such as 2025-06-13T12:08:18Z.", name=name
            ) from error
    return text


def _day(given: Parameters, name: str) -> date:
    given.text(name, required=True)
    moment = datetime.fromisoformat(_moment(given, name))
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()
    except OverflowError as error:
        raise Refused("InvalidParameterValue", "`{name}` is out of range.", name=name) from error


@dataclass(frozen=True)
class Action:
    """A supported action."""

    run: Callable[[Call], Object]
    rate: float  # requests per second and key, unless the settings override it


ACTIONS = {
    "ProcessMedia": Action(process_media, 100),
    "DescribeTaskDetail": Action(describe_task_detail, 100),
    "DescribeTasks": Action(describe_tasks, 100),
    "ManageTask": Action(manage_task, 20),
    "ParseNotification": Action(parse_notification, 20),
    "DescribeAIAnalysisTemplates": Action(describe_templates, 10),
    "CreateAIAnalysisTemplate": Action(create_template, 10),
    "ModifyAIAnalysisTemplate": Action(modify_template, 10),
    "DeleteAIAnalysisTemplate": Action(delete_template, 10),
    "DescribeMediaMetaData": Action(describe_metadata, 10),
    "DescribeUsageData": Action(describe_usage, 10),
}


def named(name: str, version: str) -> Action:
    """The action of this name; raises Refused for unsupported and unknown actions."""
    if version != known.VERSION:
        raise Refused(
            "NoSuchVersion",
            "There is no version `{version}` of this API. The version is {known}.",
            version=version[:40],
            known=known.VERSION,
        )
    if name in ACTIONS:
        return ACTIONS[name]
    if name in known.ACTIONS:
        raise Refused(
            "UnsupportedOperation", "`{name}` is not supported: this server only identifies music.", name=name
        )
    raise Refused("InvalidAction", "There is no action `{action}`.", action=name[:80])
