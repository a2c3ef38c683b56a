"""User fields: which names and values are stored, and their text in commands and tables."""

from __future__ import annotations

import math

import pytest

from songprint.errors import MetadataError
from songprint.store import fields
from songprint.types import NO_FIELDS, Fields


def test_a_change_sets_and_removes_single_fields():
    present = Fields({"label": "Philips", "year": 1965, "live": True})
    assert fields.changed(present, {"label": "Verve", "live": None, "gain": -1.5}) == {
        "label": "Verve",
        "year": 1965,
        "gain": -1.5,
    }
    assert fields.changed(present, {}) == present
    assert fields.changed(present, None) == {}
    assert present["label"] == "Philips"


@pytest.mark.parametrize("name", ["", " label", "label ", "a=b", "a\nb", "x" * 65, 7])
def test_invalid_names_are_refused(name):
    with pytest.raises(MetadataError, match="name"):
        fields.changed(NO_FIELDS, {name: "x"})


@pytest.mark.parametrize("value", [["list"], {"an": "object"}, math.inf, math.nan, 2**53, "x" * 1001, b"bytes"])
def test_invalid_values_are_refused(value):
    with pytest.raises(MetadataError, match="'label'"):
        fields.changed(NO_FIELDS, {"label": value})


def test_the_number_and_the_size_of_the_fields_are_limited():
    many = fields.changed(NO_FIELDS, {f"field {number}": number for number in range(50)})
    with pytest.raises(MetadataError, match="at most 50 user fields, not 51"):
        fields.changed(many, {"one more": 1})
    with pytest.raises(MetadataError, match="16,000 characters together"):
        fields.changed(NO_FIELDS, {f"field {number}": 999 * "x" for number in range(17)})


def test_text_that_no_database_stores_is_cleaned():
    assert fields.changed(NO_FIELDS, {"版权": "a\0b\ud800", "n": "e\u0301"}) == {"版权": "ab?", "n": "é"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Verve",
        "7",
        "007",
        "-1",
        "1.50",
        "true",
        "True",
        '"quoted"',
        '"',
        "NaN",
        "[1]",
        "9" * 20,
        7,
        -1.5,
        0,
        False,
        1e300,
    ],
)
def test_values_survive_as_text(value):
    again = fields.parsed(fields.written(value))
    assert again == value and type(again) is type(value)


def test_text_looks_like_itself_unless_it_would_become_another_type():
    assert [fields.written(each) for each in ("007", "1.50", "NaN", "9" * 20)] == ["007", "1.50", "NaN", "9" * 20]
    assert [fields.written(each) for each in ("", "7", "true")] == ['""', '"7"', '"true"']


def test_fields_are_immutable_and_can_be_compared_and_copied():
    one = Fields({"label": "Verve"})
    with pytest.raises(TypeError):
        one["label"] = "Philips"  # type: ignore[index]
    assert {one: 1}[Fields({"label": "Verve"})] == 1 and one != NO_FIELDS
