"""Music that nobody knows is recognised when it comes again, in this file or another."""

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
    """(n,) samples: unknown songs one after the other."""
    return np.concatenate([toy.song(seed, seconds) for seed in seeds])


def heard(samples):
    return ENCODER.encode(samples, hop=HOP)


def stretch(samples, start=0.0):
    return Interval(start, start + len(samples) / toy.SAMPLE_RATE), heard(samples)


def numbers(pieces):
    return [[number for _, number in each] for each in pieces]


def test_a_song_that_comes_again_has_the_same_number_and_another_song_another(store):
    first, other, again_ = numbers(
        memory.remember(store, "one.mp3", [stretch(music(1)), stretch(music(2), 100), stretch(music(1), 200)])
    )
    assert len(first) == len(other) == 1 and first == again_ != other
    [[in_another_file]] = numbers(memory.remember(store, "two.mp3", [stretch(music(1), 7)]))
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
    [[first], [second]] = numbers(memory.remember(store, "one.mp3", [stretch(music(1)), (Interval(100, 128), faster)]))
    assert first == second


def test_a_part_that_comes_again_is_music_of_its_own(store):
    """Two songs without a pause seem to be one, until one of them comes alone."""
    [[(_, both)]] = memory.remember(store, "monday.mp3", [stretch(music(1, 2), 50)])
    [[(_, second)]] = memory.remember(store, "tuesday.mp3", [stretch(music(2))])
    assert second != both
    listed = {each.id: each for each in memory.listing(store)}
    assert {number: len(each.occurrences) for number, each in listed.items()} == {both: 1, second: 2}
    monday = listed[second].occurrences[0]
    assert (monday.interval.start, monday.interval.end) == (pytest.approx(80, abs=1.5), pytest.approx(110, abs=0.1))
    assert listed[both].occurrences[0].interval.end == pytest.approx(80, abs=1.5)
    [[first_again]] = numbers(memory.remember(store, "wednesday.mp3", [stretch(music(1))]))
    assert first_again == both


def test_a_stretch_of_known_and_new_music_is_told_as_two(store):
    [[first]] = numbers(memory.remember(store, "one.mp3", [stretch(music(1))]))
    [pieces] = memory.remember(store, "two.mp3", [stretch(music(3, 1), 10)])
    assert [number == first for _, number in pieces] == [False, True]
    (new, _), (old, _) = pieces
    assert (new.start, old.end) == (10, pytest.approx(70))
    assert new.end == old.start == pytest.approx(40, abs=1.5)


def test_scanning_a_file_again_changes_nothing(store):
    stretches = [stretch(music(1)), stretch(music(2), 60), stretch(music(1), 120)]
    before = memory.remember(store, "one.mp3", stretches), memory.listing(store)
    after = memory.remember(store, "one.mp3", stretches), memory.listing(store)
    assert numbers(before[0]) == numbers(after[0])
    assert [(each.id, len(each.occurrences)) for each in before[1]] == [
        (each.id, len(each.occurrences)) for each in after[1]
    ]


def test_what_is_too_short_has_no_number(store):
    assert numbers(memory.remember(store, "one.mp3", [stretch(music(1, seconds=3.0))])) == [[None]]
    pieces = memory.remember(store, "one.mp3", [stretch(music(1, seconds=3.0)), stretch(music(2), 60)])
    assert numbers(pieces)[0] == [None] and numbers(pieces)[1] != [None]
    assert len(memory.listing(store)) == 1


def test_forgotten_music_is_new_when_it_comes_again_and_its_number_is_not_given_twice(store):
    [[first], [second]] = numbers(memory.remember(store, "one.mp3", [stretch(music(1)), stretch(music(2), 60)]))
    with pytest.raises(UnknownMusicNotFound, match="no unknown music 999"):
        memory.forget(store, [second, 999])
    assert len(memory.listing(store)) == 2
    memory.forget(store, [first, second])
    assert memory.listing(store) == []
    [[anew]] = numbers(memory.remember(store, "two.mp3", [stretch(music(1))]))
    assert anew not in (first, second)


def test_of_music_that_comes_often_the_vectors_are_kept_a_few_times(store):
    for number in range(6):
        memory.remember(store, f"{number}.mp3", [stretch(music(1))])
    [music_1] = memory.listing(store)
    assert len(music_1.occurrences) == 6
    with store.catalog.database.reading() as connection:
        counts = [row.count for row in connection.execute(memory.unknown_music.select())]
    assert sum(count > 0 for count in counts) == memory.KEPT


def test_when_there_is_too_much_the_oldest_that_came_once_is_forgotten(store, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 100.0)
    memory.remember(store, "often.mp3", [stretch(music(1)), stretch(music(1), 60)])
    for seed in (2, 3, 4):
        memory.remember(store, f"{seed}.mp3", [stretch(music(seed))])
    assert [sorted({each.source for each in found.occurrences}) for found in memory.listing(store)] == [
        ["often.mp3"],
        ["4.mp3"],
    ]


def test_a_library_that_cannot_be_written_recognises_what_it_knows(tmp_path, store, monkeypatch):
    [[first]] = numbers(memory.remember(store, "one.mp3", [stretch(music(1))]))
    monkeypatch.setattr(type(store.catalog.database), "readonly", True, raising=False)
    store.catalog.database.readonly = True
    assert numbers(memory.remember(store, "two.mp3", [stretch(music(1)), stretch(music(2), 60)])) == [[first], [None]]
    assert len(memory.listing(store)[0].occurrences) == 1


def test_gaps_are_numbered_and_divided(store, tmp_path):
    whole = music(1, 2, 1, seconds=20.0)
    history = VectorHistory(HOP, 1.0, ENCODER.spec.id)
    history.add(heard(whole[:200_000]).vectors)
    history.add(heard(whole).vectors[len(heard(whole[:200_000])) :])
    gaps = [Gap(Interval(0, 20), Sound.MUSIC), Gap(Interval(20, 40), Sound.SPEECH), Gap(Interval(40, 60), Sound.MUSIC)]
    first, speech, last = memory.numbered(store, "radio", gaps, history)
    assert first.unknown == last.unknown is not None
    assert speech == gaps[1]
    assert memory.listing(store)[0].occurrences[0].source == "radio"


def test_of_gaps_before_the_trail_begins_it_is_told_what_was_remembered(store):
    """A scan that goes on after an interruption has not heard the beginning."""
    [[first]] = numbers(memory.remember(store, "radio", [stretch(music(1))]))
    history = VectorHistory(HOP, 1.0, ENCODER.spec.id)
    history.add(heard(music(1)).vectors)
    gaps = [Gap(Interval(0, 30), Sound.MUSIC), Gap(Interval(30, 60), Sound.MUSIC)]
    assert [gap.unknown for gap in memory.numbered(store, "radio", gaps, history, 30.0)] == [first, first]
    assert len(memory.listing(store)[0].occurrences) == 2


def test_a_file_is_remembered_by_where_it_is(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.write(tmp_path / "show.wav", music(1))
    history = VectorHistory(HOP, 1.0, ENCODER.spec.id)
    history.add(heard(music(1)).vectors)
    memory.numbered(store, "show.wav", [Gap(Interval(0, 30), Sound.MUSIC)], history)
    [found] = memory.listing(store)
    assert memory.source_of(found).source == str(tmp_path / "show.wav")
    os.unlink("show.wav")
    with pytest.raises(UnknownMusicNotFound, match=r"none of the files .* is there any more \(/.*show.wav\)"):
        memory.source_of(found)


def test_the_same_holds_for_every_database(tmp_path, database_url):
    with open_store(
        tmp_path / "library", create=True, encoder=ENCODER, settings=Settings(database=database_url)
    ) as store:
        [[both]] = numbers(memory.remember(store, "one.mp3", [stretch(music(1, 2))]))
        [[second]] = numbers(memory.remember(store, "two.mp3", [stretch(music(2))]))
        assert {each.id: len(each.occurrences) for each in memory.listing(store)} == {both: 1, second: 2}
        memory.forget(store, [both])
        assert [each.id for each in memory.listing(store)] == [second]


def test_one_song_is_found_in_another_stretch_where_it_is():
    index, known = ExactIndex(toy.DIM), {}
    known[1] = ENCODER.encode(music(5, 6), hop=0.5)
    index.add(np.int64(1) << 20 | np.arange(len(known[1])), known[1].vectors)
    [found] = recurrence.find(heard(music(7, 6)), 1.0, index, known)
    assert found.occurrence == 1
    assert (found.here.start, found.here.end) == (pytest.approx(30, abs=2.5), pytest.approx(60, abs=1))
    assert (found.there.start, found.there.end) == (pytest.approx(30, abs=2.5), pytest.approx(60, abs=1))
    assert recurrence.find(heard(music(8)), 1.0, index, known) == []
    assert recurrence.find(heard(music(5)), 1.0, ExactIndex(toy.DIM), {}) == []
    assert recurrence.find(Embeddings(np.zeros((0, toy.DIM), np.float32), HOP, "toy"), 1.0, index, known) == []
