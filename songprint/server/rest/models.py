"""Bodies of requests, which pydantic checks, and of responses, for the OpenAPI description.

Objects that commands and files contain too are declared in `songprint.formats.schema`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from songprint.errors import MetadataError
from songprint.formats import schema
from songprint.store import fields
from songprint.types import NO_FIELDS

MOST_ID = 2**43 - 1  # a segment id contains the recording's id and 20 more bits


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


def _storable_fields(given: dict[str, Any]) -> dict[str, Any]:
    try:
        fields.changed(NO_FIELDS, given)
    except MetadataError as error:
        raise ValueError(str(error)) from error
    return given


_NO_NUL = AfterValidator(_no_nul)  # PostgreSQL cannot store this character

TextTo50 = Annotated[str, StringConstraints(min_length=0, max_length=50), _NO_NUL]
TextTo100 = Annotated[str, StringConstraints(min_length=0, max_length=100), _NO_NUL]
TextTo200 = Annotated[str, StringConstraints(min_length=0, max_length=200), _NO_NUL]
TextTo1000 = Annotated[str, StringConstraints(min_length=0, max_length=1000), _NO_NUL]
TextTo1024 = Annotated[str, StringConstraints(min_length=0, max_length=1024), _NO_NUL]
TextTo2000 = Annotated[str, StringConstraints(min_length=0, max_length=2000), _NO_NUL]
SomeTextTo100 = Annotated[str, StringConstraints(min_length=1, max_length=100), _NO_NUL]
SomeTextTo200 = Annotated[str, StringConstraints(min_length=1, max_length=200), _NO_NUL]
SomeTextTo255 = Annotated[str, StringConstraints(min_length=1, max_length=255), _NO_NUL]
SomeTextTo500 = Annotated[str, StringConstraints(min_length=1, max_length=500), _NO_NUL]
SomeTextTo1000 = Annotated[str, StringConstraints(min_length=1, max_length=1000), _NO_NUL]
SomeTextTo1024 = Annotated[str, StringConstraints(min_length=1, max_length=1024), _NO_NUL]
Url = Annotated[
    str, StringConstraints(min_length=8, max_length=4000, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/]"), _NO_NUL
]
RecordingId = Annotated[int, Field(ge=1, le=MOST_ID)]


class RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TagsChange(RequestBody):
    """Tags and user fields of a recording. What is left out stays as it is."""

    title: SomeTextTo1000 | None = None
    artists: Annotated[list[SomeTextTo500], Field(max_length=100)] | None = None
    album: TextTo1000 | None = None
    isrc: Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}[A-Z0-9]{3}[0-9]{7})?$")] | None = Field(
        None, examples=["DEA123456789"]
    )
    track: Annotated[int, Field(ge=1, le=99999)] | None = None
    year: Annotated[int, Field(ge=1000, le=2999)] | None = None
    musicbrainz_recording_id: TextTo100 | None = None
    musicbrainz_release_id: TextTo100 | None = None
    work: TextTo200 | None = Field(None, description="The underlying song. Recordings with the same work are linked.")
    fields: Annotated[dict[str, str | int | float | bool | None], AfterValidator(_storable_fields)] | None = Field(
        None,
        description="User fields: text, numbers and booleans. Those that are left out stay, null removes one, and null"
        " for all of them removes all. Every answer about the recording contains them.",
        examples=[{"rights_holder": "Verve", "catalogue_id": 4711}],
    )

    def given(self) -> dict[str, Any]:
        """What was sent, as `Library.edit` takes it: null becomes an empty value."""
        empty = {"artists": (), "track": None, "year": None, "fields": None}
        return {
            name: tuple(value) if isinstance(value, list) else empty.get(name, "") if value is None else value
            for name, value in self.model_dump(exclude_unset=True).items()
        }


class UrlInput(RequestBody):
    """A file that the server downloads. Playlists and streams are refused."""

    type: Literal["url"]
    url: Url = Field(examples=["https://media.example.org/night-mix.mp4"])


class ObjectInput(RequestBody):
    """An object in a store that the server's settings name."""

    type: Literal["s3", "cos"]
    bucket: SomeTextTo255
    region: TextTo100 = ""
    object: SomeTextTo1024


class Callback(RequestBody):
    """Where the server reports the end of the job, with the headers of Standard Webhooks."""

    url: Url
    secret: Annotated[str, StringConstraints(max_length=500), _NO_NUL] | None = Field(
        None, description="Signs the callback. Without it, the server signs with its own callback_key."
    )


class Output(RequestBody):
    """Where the server also writes the result as JSON."""

    type: Literal["s3", "cos"]
    bucket: SomeTextTo255
    region: TextTo100 = ""
    dir: TextTo1024 = ""


class JobOptions(RequestBody):
    """How the recording is scanned, and who is notified."""

    kinds: Annotated[list[Literal["recording", "cover"]], Field(min_length=1, max_length=2)] | None = None
    track: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Number of the audio track, from 1. Default: all tracks."
    )
    find_unknown: bool = Field(True, description="Also find repetitions of unknown music.")
    callback: Callback | None = None
    output: Output | None = None
    priority: Annotated[int, Field(ge=-10, le=10)] = 0
    session_id: TextTo50 = Field("", description="Repeating it within three days does not create a second job.")
    session_context: TextTo1000 = Field("", description="Returned with the job and its callback.")


class JobRequest(JobOptions):
    """A job: what to scan, and how."""

    input: Annotated[UrlInput | ObjectInput, Field(discriminator="type")]


class StationChange(RequestBody):
    """What to change of a station. What is left out stays as it is."""

    url: Url | None = Field(None, examples=["https://radio.example.org/live.mp3"])
    name: SomeTextTo200 | None = None
    timezone: SomeTextTo100 | None = Field(None, description="Of its reports.", examples=["Europe/Berlin"])
    history_days: Annotated[float, Field(gt=0, le=36_500)] | None = Field(
        None, description="How long its plays are kept. Default: 400."
    )
    buffer_minutes: Annotated[float, Field(ge=0, le=10_080)] | None = Field(
        None, description="How long its audio is kept, 0 for not at all. Default: 60; an hour takes 29 MB."
    )
    callback: Callback | None = Field(None, description="Receives the start and the end of each song.")


class StationRequest(StationChange):
    """A web radio to follow."""

    url: Url = Field(examples=["https://radio.example.org/live.mp3"])


class VerdictRequest(RequestBody):
    """A reviewer's verdict on a segment or gap."""

    verdict: Literal["accept", "reject", "correct"]
    recording: RecordingId | None = Field(None, description="For `correct`: the recording it is.")
    note: TextTo2000 = ""


class GapName(TagsChange):
    """The part of a gap that is added to the library, and its tags."""

    start: Annotated[float, Field(ge=0, le=1e6)] | None = Field(None, description="Seconds. Default: the whole gap.")
    end: Annotated[float, Field(ge=0, le=1e6)] | None = None


class WorkChange(RequestBody):
    """Recordings of one song."""

    recordings: Annotated[list[RecordingId], Field(min_length=1, max_length=1000)]
    work: SomeTextTo200 | None = Field(
        None, description="The work's name. Default: the work that some of them already have, or a new one."
    )
    original: RecordingId | None = None


class DuplicatesDecision(RequestBody):
    """What to do with recordings that have the same audio."""

    decision: Literal["keep", "merge"] = Field(
        description="`keep` keeps all of them, and no longer lists them as duplicates. `merge` merges them."
        " To link them as versions of one song, use PUT /v1/works."
    )
    recordings: Annotated[list[RecordingId], Field(min_length=2, max_length=100)]
    into: RecordingId | None = Field(
        None, description="For `merge`: the one of the recordings that the others are merged into."
    )


class SignIn(RequestBody):
    token: SomeTextTo500


class KeyRequest(RequestBody):
    """A key to create."""

    name: SomeTextTo200
    scope: Literal["identify", "write", "admin"]
    parent: TextTo100 | None = Field(
        None, description="The parent key. The new key has no more rights than its parent, and is revoked with it."
    )
    rate: Annotated[float, Field(gt=0, le=1e6)] | None = Field(None, description="Requests per second.")


class Problem(TypedDict):
    """An error: what happened and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    code: Annotated[str, Field(description="For programs.")]
    detail: Annotated[str, Field(description="For people.")]
    request_id: str


class Added(TypedDict):
    outcome: Literal["added", "known"]
    recording: schema.Recording
    warnings: NotRequired[Annotated[list[str], Field(json_schema_extra={"default": []})]]


class Recordings(TypedDict):
    items: list[schema.Recording]
    next: str | None
    total: int


class File(TypedDict):
    path: Annotated[str, Field(description="For administrators; everyone else sees the name.")]
    size: Annotated[int | None, Field(description="bytes; null if it was not read since it was added")]
    missing_since: Annotated[str, Field(description="UTC; empty while the file exists")]


class Files(TypedDict):
    items: list[File]


class Matches(TypedDict):
    items: list[schema.Match]


class ListedUnknown(schema.UnknownMusic):
    seconds: Annotated[float, Field(description="Total playing time of all occurrences.")]


class UnknownPage(TypedDict):
    items: list[ListedUnknown]
    next: str | None
    total: int


class Duplicates(TypedDict):
    recordings: list[schema.Recording]


class DuplicatesPage(TypedDict):
    items: list[Duplicates]
    next: str | None


class Work(TypedDict):
    work: str
    recordings: list[schema.Recording]


class Session(TypedDict):
    key: str | None
    name: str
    scope: str
    csrf: Annotated[str | None, Field(description="For the header X-CSRF-Token; null if none is needed.")]


class Keys(TypedDict):
    items: list[schema.Key]


class Usage(TypedDict):
    items: list[schema.Used]


class Deliveries(TypedDict):
    items: list[schema.Delivery]
    next: str | None


class JobDeliveries(TypedDict):
    items: list[schema.Delivery]


class Audit(TypedDict):
    items: list[schema.Entry]
    next: str | None


class Job(schema.Job):
    verdicts: list[schema.Verdict]


class Jobs(TypedDict):
    items: list[schema.ListedJob]
    next: str | None


class Stations(TypedDict):
    items: list[schema.Station]
    next: str | None


class Plays(TypedDict):
    items: list[schema.Play]
    next: str | None
    total: int


class Peaks(TypedDict):
    start: float
    end: float
    peaks: Annotated[list[float], Field(description="The maximum of each part, 0 to 1.")]
