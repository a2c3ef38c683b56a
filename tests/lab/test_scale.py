"""The report of the measurement of large libraries."""

from lab.measure import scale


def test_the_report_has_a_column_for_each_size_and_a_dash_for_what_is_missing():
    small = {"songs": 1000, "accuracy": {"hard": [9, 10], "usual": [5, 5], "unrelated": [0, 3]}}
    large = {"songs": 100_000, "accuracy": {"failed": 1}, "refresh": {"ms": 2.04}}
    printed = scale.text([small, large])
    assert "| hard queries named | 9 of 10 | - |" in printed
    assert "| refresh after one change, ms | - | 2.0 |" in printed
    assert "| 1,000 | 100,000 |" in printed
