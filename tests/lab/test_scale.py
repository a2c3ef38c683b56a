"""The report of the measurement of large libraries."""

from lab.measure import scale


def test_the_report_has_a_column_for_each_size_and_a_dash_for_what_is_missing():
    small = {"songs": 1000, "accuracy": {"hard": [9, 10], "usual": [5, 5], "unrelated": [0, 3]}}
    large = {"songs": 100_000, "accuracy": {"failed": 1}, "refresh": {"ms": 2.04}}
    printed = scale.text([small, large])
    assert "| hard queries named | 9 of 10 | - |" in printed
    assert "| refresh after one change, ms | - | 2.0 |" in printed
    assert "| 1,000 | 100,000 |" in printed


def test_needs_of_larger_libraries_are_extrapolated_from_the_largest_measured_one():
    def measured(songs, known, unknown):
        return {
            "songs": songs,
            "rebuild": {"catalogue_mb": songs * 0.05, "index_mb": songs * 0.025},
            "queries": {"known_p50_ms": known, "unknown_p50_ms": unknown},
        }

    rows = scale.sizing([measured(10_000, 200, 400), measured(100_000, 400, 400)]).splitlines()
    assert rows[2] == "| 10,000 | 667 | 0.5 | 0.25 | - | 200 / 400 | measured |"
    assert rows[3] == "| 100,000 | 6,667 | 5 | 2.5 | - | 400 / 400 | measured |"
    assert rows[4] == "| 1,000,000 | 66,667 | 50 | 25 | 40 | 800 / 400 | extrapolated |"
    assert scale.sizing([{"songs": 1000}]) == ""


def test_plots_contain_the_sizes_that_were_measured(tmp_path):
    small = {"songs": 1000, "accuracy": {"hard": [9, 10], "usual": [5, 5]}, "queries": {"known_p50_ms": 100}}
    drawn = scale.draw([small, {"songs": 10_000, "accuracy": {"failed": 1}}], tmp_path)
    for name in drawn:
        assert "songs in the library" in (tmp_path / name).read_text()
