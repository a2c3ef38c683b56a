"""The figures of a timeline say what they say: made-up timelines with known figures."""

import pytest

from lab.data.programmes import Part
from lab.measure import spans
from lab.measure.spans import Claim
from songprint.types import Interval, Kind

RECORDING, COVER = Kind.RECORDING, Kind.COVER


def part(song, start, end, kind=RECORDING, fade=0.0):
    return Part(
        Interval(start, end),
        Interval(start - fade, end + fade),
        f"{song}.ogg",
        song,
        kind,
        Interval(0, 9),
        not fade,
        not fade,
    )


def claim(song, start, end, kind=RECORDING):
    return Claim(song, kind, Interval(start, end))


TRUTH = [part("a", 0, 100), part("b", 100, 200), part("a", 300, 400), part("c", 400, 500, COVER)]


def test_half_of_the_seconds_named_and_a_third_of_the_claims_wrong():
    claims = [claim("a", 0, 100), claim("b", 120, 200), claim("z", 220, 310), claim("c", 480, 500)]
    said = spans.agreement(TRUTH, claims)
    assert (said.heard, said.claimed, said.right) == (400, 290, 200)
    assert (said.recall, said.precision) == (0.5, pytest.approx(200 / 290))
    assert said.f1 == pytest.approx(400 / 690)


def test_saying_everything_is_perfect_and_saying_nothing_wins_nothing():
    perfect = spans.agreement(TRUTH, [claim(each.song, each.heard.start, each.heard.end, each.kind) for each in TRUTH])
    assert (perfect.precision, perfect.recall, perfect.f1) == (1, 1, 1)
    nothing = spans.agreement(TRUTH, [])
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)
    silent = spans.agreement([], [])
    assert (silent.precision, silent.recall, silent.f1) == (1, 1, 1)


def test_a_song_that_is_named_twice_at_the_same_time_counts_once():
    said = spans.agreement(TRUTH, [claim("a", 0, 100), claim("a", 50, 100)])
    assert (said.right, said.claimed) == (100, 100)


def test_two_songs_at_once_count_both():
    crossed = [part("a", 0, 60), part("b", 50, 100)]
    assert spans.agreement(crossed, [claim("a", 0, 60), claim("b", 50, 100)]).f1 == 1
    assert spans.agreement(crossed, [claim("a", 0, 55), claim("b", 55, 100)]).right == 100


def test_naming_a_song_while_it_is_faded_is_neither_asked_for_nor_wrong():
    faded = [part("a", 10, 20, fade=2)]
    assert spans.agreement(faded, [claim("a", 8, 22)]).f1 == 1
    assert spans.agreement(faded, [claim("a", 5, 20)]).claimed == 13


def test_each_kind_has_its_own_figures():
    claims = [
        claim("a", 0, 100),
        claim("b", 100, 200),
        claim("a", 300, 400),
        claim("c", 450, 500, COVER),
        claim("z", 500, 550, COVER),
    ]
    recordings, covers = (spans.agreement(TRUTH, claims, kind) for kind in (RECORDING, COVER))
    assert recordings.f1 == 1
    assert (covers.heard, covers.claimed, covers.right) == (100, 100, 50)
    both = spans.agreement(TRUTH, claims)
    assert (both.heard, both.claimed, both.right) == tuple(
        getattr(recordings, name) + getattr(covers, name) for name in ("heard", "claimed", "right")
    )


def test_the_right_song_as_the_wrong_kind_is_right_and_told_apart():
    claims = [claim("c", 400, 500, RECORDING)]
    assert spans.agreement(TRUTH, claims, COVER).recall == 1
    assert spans.agreement(TRUTH, claims, RECORDING).claimed == 0
    assert spans.other_kind(TRUTH, claims) == 100
    assert spans.other_kind(TRUTH, [claim("c", 400, 500, COVER)]) == 0


def test_edges_are_measured_from_the_outer_ends_of_what_was_named():
    claims = [claim("a", 0.3, 40), claim("a", 60, 98), claim("b", 101, 200)]
    assert [edge.error for edge in spans.edges(TRUTH, claims)] == pytest.approx([0.3, 2, 1, 0])
    assert [edge.hard for edge in spans.edges([part("a", 10, 20, fade=1)], [claim("a", 9, 20)])] == [False, False]


def test_parts_of_which_nothing_is_named_are_missed():
    found = spans.missed(TRUTH, [claim("a", 0, 50), claim("z", 300, 500)])
    assert [each.heard.start for each in found] == [100, 300, 400]


def test_a_song_that_is_nowhere_near_is_invented_once_however_many_stretches_it_has():
    claims = [claim("z", 0, 10), claim("z", 15, 20), claim("z", 300, 310), claim("a", 90, 110), claim("b", 350, 360)]
    found = spans.invented(TRUTH, claims)
    assert [(each.song, each.heard.start, each.heard.end) for each in found] == [
        ("z", 0, 20),
        ("z", 300, 310),
        ("b", 350, 360),
    ]
