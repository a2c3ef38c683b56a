"""Parameters of a request, as JSON or flattened to `A.B.0=text`, read one by one with their types.

Flattened parameters are text, so numbers may be "21" and booleans "True"; JSON may contain the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from songprint.server.tencent.signatures import Refused

COMMON = frozenset(
    {
        "Action",
        "Version",
        "Timestamp",
        "Nonce",
        "SecretId",
        "SignatureMethod",
        "Signature",
        "Region",
        "Token",
        "Language",
        "RequestClient",
    }
)
_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?", re.ASCII)  # 21.0 is a whole number for Tencent too
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_MOST_FLOAT = 2.0**53  # above, not every whole number has a float of its own
_DEEPEST = 20  # parts of the name of a flattened parameter


class Parameters:
    """One object of a request. A null value counts as absent."""

    def __init__(self, values: Mapping[str, object], path: str = "") -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def only(self, names: Collection[str]) -> None:
        """Refuse the request if it has any other parameter."""
        unknown = sorted(set(self._values) - set(names))
        if unknown:
            raise Refused(
                "UnknownParameter",
                "The parameter `{parameter}` is unknown.",
                parameter=self._full_name(unknown[0][:100]),
            )

    def text(
        self, name: str, *, required: bool = False, longest: int | None = None, code: str = "InvalidParameterValue"
    ) -> str:
        """Text, "" if it is absent; `code` is the error code for text longer than `longest` characters."""
        value = self._values.get(name, "")
        if not isinstance(value, str):
            raise Refused(
                "InvalidParameter", "The parameter `{parameter}` must be text.", parameter=self._full_name(name)
            )
        if required and not value:
            raise self._missing(name)
        if longest is not None and len(value) > longest:
            raise Refused(
                code,
                "The parameter `{parameter}` may have at most {longest} characters.",
                parameter=self._full_name(name),
                longest=longest,
            )
        return value

    def number(
        self,
        name: str,
        default: int,
        *,
        least: int | None = None,
        most: int | None = None,
        code: str = "InvalidParameterValue",
    ) -> int:
        """A whole number; `code` is the error code for a number out of range."""
        value = self._values.get(name, default)
        if isinstance(value, str) and (written := _WHOLE.fullmatch(value)):
            value = int(written[1])
        if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_FLOAT:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Refused(
                "InvalidParameter",
                "The parameter `{parameter}` must be a whole number.",
                parameter=self._full_name(name),
            )
        if (least is not None and value < least) or (most is not None and value > most):
            raise Refused(
                code,
                "The parameter `{parameter}` must lie between {least} and {most}.",
                parameter=self._full_name(name),
                least=least,
                most=most,
            )
        return value

    def boolean(self, name: str) -> bool | None:
        """True, False, or None if it is absent."""
        value = self._values.get(name)
        if isinstance(value, str | int) and str(value).lower() in _BOOLEANS:
            value = _BOOLEANS[str(value).lower()]
        if value is not None and not isinstance(value, bool):
            raise Refused(
                "InvalidParameter",
                "The parameter `{parameter}` must be true or false.",
                parameter=self._full_name(name),
            )
        return value

    def numbers(self, name: str, *, most: int) -> list[int]:
        """A list of whole numbers, empty if it is absent."""
        values = self._list(name, most)
        return [Parameters({"item": value}, self._full_name(name)).number("item", 0) for value in values]

    def texts(self, name: str, *, most: int) -> list[str]:
        """A list of text, empty if it is absent."""
        return [Parameters({"item": value}, self._full_name(name)).text("item") for value in self._list(name, most)]

    def nested(self, name: str) -> Parameters | None:
        """A nested object; None if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise Refused(
                "InvalidParameter", "The parameter `{parameter}` must be an object.", parameter=self._full_name(name)
            )
        return Parameters(value, self._full_name(name))

    def required_object(self, name: str) -> Parameters:
        """A nested object; refuses the request if it is absent."""
        found = self.nested(name)
        if found is None:
            raise self._missing(name)
        return found

    def raw(self, name: str) -> object:
        """A value of any type, None if it is absent."""
        return self._values.get(name)

    def _list(self, name: str, most: int) -> list[object]:
        value = self._values.get(name, [])
        if not isinstance(value, list):
            raise Refused(
                "InvalidParameter", "The parameter `{parameter}` must be a list.", parameter=self._full_name(name)
            )
        if len(value) > most:
            raise Refused(
                "InvalidParameterValue",
                "The parameter `{parameter}` may have at most {most} items.",
                parameter=self._full_name(name),
                most=most,
            )
        return value

    def _missing(self, name: str) -> Refused:
        return Refused(
            "MissingParameter", "The request is missing a required parameter: `{name}`.", name=self._full_name(name)
        )

    def _full_name(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def of_json(body: bytes) -> Parameters:
    """The parameters in a JSON body; an empty body has none."""
    try:
        values = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise Refused("InvalidParameter", "The body of the request is not valid JSON.") from error
    if not isinstance(values, dict):
        raise Refused("InvalidParameter", "The body of the request must be a JSON object.")
    return Parameters(values)


def of_flat(flat: Mapping[str, str]) -> Parameters:
    """Flattened parameters as nested objects and lists.

    >>> of_flat({"A.B.1": "y", "A.B.0": "x", "Action": "Test"}).nested("A").texts("B", most=9)
    ['x', 'y']
    """
    tree: dict[str, object] = {}
    for name, value in flat.items():
        if name in COMMON:
            continue
        *above, last = name.split(".")
        if len(above) > _DEEPEST:
            raise Refused("InvalidParameter", "A parameter of the request has too many parts.")
        place: object = tree
        for part in above:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict) or isinstance(place.get(last), dict):
            raise Refused(
                "InvalidParameter", "The parameter `{parameter}` is both an object and a value.", parameter=name[:100]
            )
        place[last] = value
    return Parameters({name: _listed(value) for name, value in tree.items()})


def _listed(value: object) -> object:
    """Convert objects whose names are all numbers to lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(each) for name, each in value.items()}
    if inner and all(re.fullmatch("[0-9]{1,6}", name, re.ASCII) for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner
