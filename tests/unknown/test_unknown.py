"""Unknown music is remembered, and recognised when it occurs again."""

import os

import numpy as np
import pytest
from support import toy

from songprint.config import Settings
from songprint.errors import UnknownMusicNotFound
from songprint.fingerprint.history import VectorHistory
from songprint.kinds import open_store
from songprint.store.index.exact import ExactIndex
from songprint.types import Embeddings, Gap, Interval, Sound
from songprint.unknown import memory, recurrence

ENCODER = toy.ToyEncoder()
HOP = 0.25


def music(*seeds, seconds=30.0):
    """(n,) samples: consecutive songs."""
    return np.concatenate([toy.song(seed, seconds) for seed in seeds])


def encode(samples):
    return ENCODER.encode(samples, hop=HOP)


def section(samples, start=0.0):
    return Interval(start, start + len(samples) / toy.SAMPLE_RATE), encode(samples)


def loops(seed, seconds):
    """Embeddings of a piece that repeats eight sounds of a second each, with variations."""
    random = np.random.default_rng(seed)
    count = round(seconds / HOP)
    sounds = random.normal(size=(8, toy.DIM))
    vectors = sounds[(np.arange(count) * HOP).astype(int) % 8] + 0.55 * random.normal(size=(count, toy.DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cut(vectors, start, end):
    """The section of these vectors between two times."""
    return Interval(start, end), Embeddings(vectors[round(start / HOP) : round(end / HOP)], HOP, "toy-1")


def numbers(pieces):
    return [[number for _, number in each] for each in pieces]


def test_the_same_song_has_the_same_number_and_another_song_another(store):
    first, other, again = numbers(
        memory.remember(store, "one.mp3", [section(music(1)), section(music(2), 100), section(music(1), 200)])
    )
    assert len(first) == len(other) == 1 and first == again != other
    [[in_another_file]] = numbers(memory.remember(store, "two.mp3", [section(music(1), 7)]))
    assert in_another_file == first[0]
    listed = memory.listing(store)
    assert [len(each.occurrences) for each in listed] == [3, 1]
    assert [(each.source, each.interval.start) for each in listed[0].occurrences] == [
        ("one.mp3", 0),
        ("one.mp3", 200),
        ("two.mp3", 7),
    ]
    assert listed[0].duration == pytest.approx(30)


def test_a_faster_copy_is_the_same_music(store):
    dense = ENCODER.encode(music(1), hop=1 / 32).vectors
    faster = Embeddings(dense[(np.arange(0, 27, HOP) * 1.04 * 32).astype(int)], HOP, "toy-1")
    [[first], [second]] = numbers(memory.remember(store, "one.mp3", [section(music(1)), (Interval(100, 128), faster)]))
    assert first == second


def test_a_part_that_occurs_again_gets_its_own_number(store):
    """Two songs without a pause appear to be one, until one of them occurs alone."""
    [[(_, both)]] = memory.remember(store, "monday.mp3", [section(music(1, 2), 50)])
    [[(_, second)]] = memory.remember(store, "tuesday.mp3", [section(music(2))])
    assert second != both
    listed = {each.id: each for each in memory.listing(store)}
    assert {number: len(each.occurrences) for number, each in listed.items()} == {both: 1, second: 2}
    monday = listed[second].occurrences[0]
    assert (monday.interval.start, monday.interval.end) == (pytest.approx(80, abs=1.5), pytest.approx(110, abs=0.1))
    assert listed[both].occurrences[0].interval.end == pytest.approx(80, abs=1.5)
    [[first_again]] = numbers(memory.remember(store, "wednesday.mp3", [section(music(1))]))
    assert first_again == both


def test_a_section_with_remembered_and_new_music_is_divided(store):
    [[first]] = numbers(memory.remember(store, "one.mp3", [section(music(1))]))
    [pieces] = memory.remember(store, "two.mp3", [section(music(3, 1), 10)])
    assert [number == first for _, number in pieces] == [False, True]
    (new, _), (old, _) = pieces
    assert (new.start, old.end) == (10, pytest.approx(70))
    assert new.end == old.start == pytest.approx(40, abs=1.5)


def test_a_piece_of_which_a_part_was_remembered_is_one_entry(store):
    piece = loops(1, 120)
    [[part]] = numbers(memory.remember(store, "part.mp3", [cut(piece, 40, 70)]))
    [[(whole, number)]] = memory.remember(store, "whole.mp3", [cut(piece, 0, 120)])
    assert number == part and (whole.start, whole.end) == (0, 120)
    [[other_part]] = numbers(memory.remember(store, "end.mp3", [cut(piece, 80, 110)]))
    assert other_part == part, "the vectors of the whole piece are stored"
    assert {each.id: len(each.occurrences) for each in memory.listing(store)} == {part: 3}


def test_parts_that_were_remembered_become_one_entry_with_the_oldest_number(store):
    piece = loops(1, 120)
    [[first]] = numbers(memory.remember(store, "first.mp3", [cut(piece, 70, 100)]))
    [[second]] = numbers(memory.remember(store, "second.mp3", [cut(piece, 20, 50)]))
    assert first != second
    part, whole = numbers(memory.remember(store, "whole.mp3", [cut(piece, 20, 50), cut(piece, 0, 120)]))
    assert part == whole == [first]
    assert {each.id: len(each.occurrences) for each in memory.listing(store)} == {first: 4}


def test_a_part_of_a_remembered_piece_does_not_divide_it(store):
    piece = loops(1, 120)
    [[whole]] = numbers(memory.remember(store, "whole.mp3", [cut(piece, 0, 120)]))
    [[part]] = numbers(memory.remember(store, "part.mp3", [cut(piece, 40, 70)]))
    assert part == whole


def test_another_piece_next_to_a_remembered_one_is_another_entry(store):
    one, other = loops(1, 40), loops(2, 40)
    [[first]] = numbers(memory.remember(store, "one.mp3", [cut(one, 0, 40)]))
    [pieces] = memory.remember(store, "both.mp3", [cut(np.concatenate([other, one]), 0, 80)])
    assert [number == first for _, number in pieces] == [False, True]
    assert pieces[1][0].start == pytest.approx(40, abs=1.5)


def test_after_a_pause_the_same_sounds_are_another_entry(store):
    piece = loops(1, 80)
    [[first]] = numbers(memory.remember(store, "one.mp3", [cut(piece, 0, 40)]))
    piece[round(40 / HOP) : round(41 / HOP)] = 0
    [pieces] = memory.remember(store, "both.mp3", [cut(piece, 0, 80)])
    assert [number == first for _, number in pieces] == [True, False]


def test_a_piece_that_other_music_followed_ends_there(store):
    """The same sounds that follow it elsewhere are another piece."""
    piece, other = loops(1, 80), loops(2, 40)
    memory.remember(store, "alone.mp3", [cut(piece, 0, 40)])
    memory.remember(store, "before.mp3", [cut(np.concatenate([piece[: round(40 / HOP)], other]), 0, 80)])
    [[first, second]] = numbers(memory.remember(store, "again.mp3", [cut(piece, 0, 80)]))
    assert first != second


def test_a_piece_that_is_repeated_at_once_has_two_occurrences(store):
    piece = loops(1, 40)
    memory.remember(store, "one.mp3", [cut(piece, 0, 40)])
    [[one, other]] = numbers(memory.remember(store, "twice.mp3", [cut(np.concatenate([piece, piece]), 0, 80)]))
    assert one == other


def test_the_vectors_of_longer_occurrences_replace_those_of_shorter_ones(store):
    piece = loops(1, 120)
    for number in range(memory.MAX_STORED_OCCURRENCES):
        memory.remember(store, f"{number}.mp3", [cut(piece, 40, 70)])
    [[first]] = numbers(memory.remember(store, "whole.mp3", [cut(piece, 0, 120)]))
    [[again]] = numbers(memory.remember(store, "end.mp3", [cut(piece, 80, 110)]))
    assert again == first
    with store.catalog.database.reading() as connection:
        counts = [row.count for row in connection.execute(memory.unknown_music.select())]
    assert sum(count > 0 for count in counts) == memory.MAX_STORED_OCCURRENCES and max(counts) == 240


def test_a_new_scan_replaces_occurrences_that_it_divides(store):
    memory.remember(store, "one.mp3", [section(music(1, 2))])
    memory.remember(store, "one.mp3", [section(music(2), 30.0)])
    assert [
        (each.source, each.interval.start, each.interval.end)
        for found in memory.listing(store)
        for each in found.occurrences
    ] == [("one.mp3", 30, 60)]


def test_scanning_a_file_again_does_not_add_occurrences(store):
    sections = [section(music(1)), section(music(2), 60), section(music(1), 120)]
    before = memory.remember(store, "one.mp3", sections), memory.listing(store)
    after = memory.remember(store, "one.mp3", sections), memory.listing(store)
    assert numbers(before[0]) == numbers(after[0])
    assert [(each.id, len(each.occurrences)) for each in before[1]] == [
        (each.id, len(each.occurrences)) for each in after[1]
    ]


def test_music_that_is_too_short_gets_no_number(store):
    assert numbers(memory.remember(store, "one.mp3", [section(music(1, seconds=3.0))])) == [[None]]
    pieces = memory.remember(store, "one.mp3", [section(music(1, seconds=3.0)), section(music(2), 60)])
    assert numbers(pieces)[0] == [None] and numbers(pieces)[1] != [None]
    assert len(memory.listing(store)) == 1


def test_forgotten_music_is_new_when_it_occurs_again_and_numbers_are_not_reused(store):
    [[first], [second]] = numbers(memory.remember(store, "one.mp3", [section(music(1)), section(music(2), 60)]))
    with pytest.raises(UnknownMusicNotFound, match="no unknown music 999"):
        memory.forget(store, [second, 999])
    assert len(memory.listing(store)) == 2
    memory.forget(store, [first, second])
    assert memory.listing(store) == []
    [[anew]] = numbers(memory.remember(store, "two.mp3", [section(music(1))]))
    assert anew not in (first, second)


def test_the_vectors_of_frequent_music_are_stored_for_a_few_occurrences(store):
    for number in range(6):
        memory.remember(store, f"{number}.mp3", [section(music(1))])
    [music_1] = memory.listing(store)
    assert len(music_1.occurrences) == 6
    with store.catalog.database.reading() as connection:
        counts = [row.count for row in connection.execute(memory.unknown_music.select())]
    assert sum(count > 0 for count in counts) == memory.MAX_STORED_OCCURRENCES


def test_beyond_the_limit_the_oldest_music_that_occurred_once_is_deleted(store, monkeypatch):
    monkeypatch.setattr(memory, "MAX_SECONDS", 100.0)
    memory.remember(store, "often.mp3", [section(music(1)), section(music(1), 60)])
    for seed in (2, 3, 4):
        memory.remember(store, f"{seed}.mp3", [section(music(seed))])
    assert [sorted({each.source for each in found.occurrences}) for found in memory.listing(store)] == [
        ["often.mp3"],
        ["4.mp3"],
    ]


def test_a_read_only_library_recognises_remembered_music(tmp_path, store, monkeypatch):
    [[first]] = numbers(memory.remember(store, "one.mp3", [section(music(1))]))
    monkeypatch.setattr(type(store.catalog.database), "readonly", True, raising=False)
    store.catalog.database.readonly = True
    assert numbers(memory.remember(store, "two.mp3", [section(music(1)), section(music(2), 60)])) == [[first], [None]]
    assert len(memory.listing(store)[0].occurrences) == 1


def test_gaps_are_numbered_and_divided(store, tmp_path):
    whole = music(1, 2, 1, seconds=20.0)
    history = VectorHistory(HOP, 1.0, ENCODER.spec.id)
    history.add(encode(whole[:200_000]).vectors)
    history.add(encode(whole).vectors[len(encode(whole[:200_000])) :])
    gaps = [Gap(Interval(0, 20), Sound.MUSIC), Gap(Interval(20, 40), Sound.SPEECH), Gap(Interval(40, 60), Sound.MUSIC)]
    first, speech, last = memory.numbered(store, "radio", gaps, history)
    assert first.unknown == last.unknown is not None
    assert speech == gaps[1]
    assert memory.listing(store)[0].occurrences[0].source == "radio"


def test_gaps_before_the_history_keep_their_remembered_numbers(store):
    """The history of a resumed scan starts where the scan was resumed."""
    [[first]] = numbers(memory.remember(store, "radio", [section(music(1))]))
    history = VectorHistory(HOP, 1.0, ENCODER.spec.id)
    history.add(encode(music(1)).vectors)
    gaps = [Gap(Interval(0, 30), Sound.MUSIC), Gap(Interval(30, 60), Sound.MUSIC)]
    assert [gap.unknown for gap in memory.numbered(store, "radio", gaps, history, 30.0)] == [first, first]
    assert len(memory.listing(store)[0].occurrences) == 2


def test_the_source_of_an_occurrence_is_an_absolute_path(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.write(tmp_path / "show.wav", music(1))
    history = VectorHistory(HOP, 1.0, ENCODER.spec.id)
    history.add(encode(music(1)).vectors)
    memory.numbered(store, "show.wav", [Gap(Interval(0, 30), Sound.MUSIC)], history)
    [found] = memory.listing(store)
    assert memory.source_of(found).source == str(tmp_path / "show.wav")
    os.unlink("show.wav")
    with pytest.raises(UnknownMusicNotFound, match=r"none of the files .* exists any more \(/.*show.wav\)"):
        memory.source_of(found)


def test_unknown_music_is_remembered_in_every_database(tmp_path, database_url):
    with open_store(
        tmp_path / "library", create=True, encoder=ENCODER, settings=Settings(database=database_url)
    ) as store:
        [[both]] = numbers(memory.remember(store, "one.mp3", [section(music(1, 2))]))
        [[second]] = numbers(memory.remember(store, "two.mp3", [section(music(2))]))
        assert {each.id: len(each.occurrences) for each in memory.listing(store)} == {both: 1, second: 2}
        memory.forget(store, [both])
        assert [each.id for each in memory.listing(store)] == [second]


def test_a_song_is_found_at_its_position_in_another_occurrence():
    index, known = ExactIndex(toy.DIM), {}
    known[1] = ENCODER.encode(music(5, 6), hop=0.5)
    index.add(np.int64(1) << 20 | np.arange(len(known[1])), known[1].vectors)
    [found] = recurrence.find(encode(music(7, 6)), 1.0, index, known)
    assert found.occurrence == 1
    assert (found.query.start, found.query.end) == (pytest.approx(30, abs=2.5), pytest.approx(60, abs=1))
    assert (found.reference.start, found.reference.end) == (pytest.approx(30, abs=2.5), pytest.approx(60, abs=1))
    assert recurrence.find(encode(music(8)), 1.0, index, known) == []
    assert recurrence.find(encode(music(5)), 1.0, ExactIndex(toy.DIM), {}) == []
    assert recurrence.find(Embeddings(np.zeros((0, toy.DIM), np.float32), HOP, "toy"), 1.0, index, known) == []
