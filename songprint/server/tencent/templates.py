"""Templates of AI analysis: options of ProcessMedia under a number, which the client sends as `Definition`.

The preset 21 identifies music. Clients create further templates, each of which belongs to the key that created it. A
template has no field for the options of music identification, so they are taken from its `Comment`, if that is a JSON
object with the key `songprint`: {"songprint": {"covers": false, "min_confidence": 90}}. Any other comment is a comment.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from songprint.server.tencent.parameters import Parameters
from songprint.server.tencent.signatures import Refused
from songprint.store.tables import templates
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.store.database import Database

PRESET = 21  # the template of music identification
FIRST_CUSTOM = 1_000_000  # numbers of custom templates begin here
TENCENTS_NUMBERS = range(10_000, FIRST_CUSTOM)  # of templates that were created in an account of Tencent Cloud
OWN = "songprint"  # key of Songprint's own options in ExtendedParameter and in comments
MOST_TEMPLATES = 1000  # of one key
MOST_NAME, MOST_COMMENT = 64, 256  # characters
CONFIGURES = ("ClassificationConfigure", "TagConfigure", "CoverConfigure", "FrameTagConfigure")
_MOST_RESULTS = 1000
_ON = {"Switch": "ON"}


@dataclass(frozen=True)
class Template:
    """A template. `configures` are the four objects of Tencent's interface; null for those that were not sent."""

    definition: int
    name: str
    comment: str
    configures: Mapping[str, Any]
    created_at: str  # UTC, ISO 8601
    updated_at: str

    @property
    def identifies_music(self) -> bool:
        return bool((self.configures["TagConfigure"] or _ON)["Switch"] == "ON")

    def own_options(self) -> dict[str, Any]:
        """Songprint's options in the comment; empty if it contains none."""
        return options_of_comment(self.comment)


PRESET_TEMPLATE = Template(
    PRESET,
    "Music identification",
    "The songs in a recording, including covers",
    dict.fromkeys(CONFIGURES) | {"TagConfigure": _ON},
    "2025-01-01T00:00:00+00:00",
    "2025-01-01T00:00:00+00:00",
)


def template_object(template: Template) -> dict[str, object]:
    """A template in the response of DescribeAIAnalysisTemplates."""
    return {
        "Definition": template.definition,
        "Name": template.name,
        "Comment": template.comment,
        **template.configures,
        "CreateTime": f"{template.created_at[:19]}Z",
        "UpdateTime": f"{template.updated_at[:19]}Z",
        "Type": "Preset" if template.definition == PRESET else "Custom",
    }


def own_options(given: Parameters) -> dict[str, Any]:
    """Songprint's own options in the JSON of a client: those of `covers`, `min_confidence` and `max_results` it has."""
    own = given.nested(OWN) or Parameters({})
    own.only({"covers", "min_confidence", "max_results"})
    found: dict[str, Any] = {}
    if (covers := own.boolean("covers")) is not None:
        found["covers"] = covers
    if "min_confidence" in own:
        found["min_confidence"] = own.number("min_confidence", 0, least=0, most=100)
    if "max_results" in own:
        found["max_results"] = own.number("max_results", 0, least=1, most=_MOST_RESULTS)
    return found


def options_of_comment(comment: str) -> dict[str, Any]:
    """Songprint's own options in a comment. Refused with Tencent's code for comments if they are not valid."""
    try:
        values = json.loads(comment)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict) or OWN not in values:
        return {}
    try:
        return own_options(Parameters(values, "Comment"))
    except Refused as refused:
        raise refused.with_code("InvalidParameterValue.Comment") from refused


def changes(given: Parameters) -> dict[str, Any]:
    """The fields of a template that a request sets, validated, by the names of `Template`."""
    found: dict[str, Any] = {}
    if "Name" in given:
        found["name"] = given.text("Name", longest=MOST_NAME, code="InvalidParameterValue.Name")
    if "Comment" in given:
        found["comment"] = given.text("Comment", longest=MOST_COMMENT, code="InvalidParameterValue.Comment")
        options_of_comment(found["comment"])
    configures = {name: _configure(given, name) for name in CONFIGURES if name in given}
    return found | ({"configures": configures} if configures else {})


def _configure(given: Parameters, name: str) -> dict[str, str]:
    switch = given.required_object(name).text("Switch", required=True)
    if switch not in ("ON", "OFF"):
        code = f"InvalidParameterValue.{name}"
        raise Refused(code, "`{parameter}` must be ON or OFF.", parameter=f"{name}.Switch")
    return {"Switch": switch}


class Templates:
    """The custom templates of a database. `owners` are the keys whose templates are visible; None: all keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, owner: str, fields: Mapping[str, Any]) -> Template:
        """Create a template of a key from what `changes` returns. Refused if the key has too many."""

        def create(connection: Connection) -> Template:
            owned = select(func.count()).select_from(templates).where(templates.c.key_id == owner)
            if (connection.scalar(owned) or 0) >= MOST_TEMPLATES:
                raise Refused(
                    "LimitExceeded.TooMuchTemplate",
                    "The key has {most} templates, which is the maximum.",
                    most=MOST_TEMPLATES,
                )
            now = clock(connection)
            configures = dict.fromkeys(CONFIGURES) | {"TagConfigure": _ON} | fields.get("configures", {})
            inserted = connection.execute(
                insert(templates).values(
                    key_id=owner,
                    name=fields.get("name", ""),
                    comment=fields.get("comment", ""),
                    options=json.dumps(configures),
                    created_at=now,
                    updated_at=now,
                )
            ).inserted_primary_key
            assert inserted is not None
            return _template(connection.execute(select(templates).where(templates.c.number == inserted[0])).one())

        return self._database.write(create)

    def find(self, definition: int, owners: Collection[str] | None) -> Template | None:
        """The template with this number; None if there is none that is visible."""
        with self._database.reading() as connection:
            row = connection.execute(select(templates).where(*_this(definition, owners))).first()
            return _template(row) if row is not None else None

    def all(self, owners: Collection[str] | None) -> list[Template]:
        """All visible templates, by number."""
        wanted = select(templates).where(*_of(owners)).order_by(templates.c.number)
        with self._database.reading() as connection:
            return [_template(row) for row in connection.execute(wanted)]

    def modify(self, definition: int, owners: Collection[str] | None, fields: Mapping[str, Any]) -> Template | None:
        """Set the fields that `changes` returns; None if there is no such template that is visible."""

        def modify(connection: Connection) -> Template | None:
            this = _this(definition, owners)
            row = connection.execute(select(templates).where(*this).with_for_update()).first()
            if row is None:
                return None
            configures = json.loads(row.options) | fields.get("configures", {})
            values = {name: value for name, value in fields.items() if name != "configures"}
            connection.execute(
                update(templates)
                .where(*this)
                .values(**values, options=json.dumps(configures), updated_at=clock(connection))
            )
            return _template(connection.execute(select(templates).where(*this)).one())

        return self._database.write(modify)

    def delete(self, definition: int, owners: Collection[str] | None) -> bool:
        """Delete a template. False if there is no such template that is visible. Its number is never used again."""
        statement = delete(templates).where(*_this(definition, owners))
        return self._database.write(lambda connection: connection.execute(statement).rowcount == 1)


def _of(owners: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [] if owners is None else [templates.c.key_id.in_(list(owners))]


def _this(definition: int, owners: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [templates.c.number == definition - FIRST_CUSTOM, *_of(owners)]


def _template(row: Row[Any]) -> Template:
    return Template(
        row.number + FIRST_CUSTOM,
        row.name,
        row.comment,
        json.loads(row.options),
        iso(row.created_at),
        iso(row.updated_at),
    )
