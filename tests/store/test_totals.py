"""The counts of a catalogue follow every change, also those of an older Songprint."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import text, update
from support.recordings import add, unit_vectors

from songprint.store import merging, tables, totals
from songprint.store.catalog import Addition
from songprint.types import Embeddings, Kind, Tags


def agreed(catalog):
    """The counts, which must be those of the content."""
    with catalog.database.reading() as connection:
        assert not totals.differ(connection)
    return catalog.totals()


def test_counts_follow_additions_removals_merges_and_another_encoder(catalog, random):
    assert agreed(catalog).recordings == 0
    one, two, three = (add(catalog, random, title) for title in ("one", "two", "three"))
    assert agreed(catalog).recordings == 3
    catalog.remove([two.id])
    assert agreed(catalog).recordings == 2
    merging.merge(catalog, one.id, [three.id])
    found = agreed(catalog)
    assert (found.recordings, found.duration) == (1, pytest.approx(one.duration))
    other = {Kind.RECORDING: Embeddings(unit_vectors(random), 0.5, "other")}
    catalog.add_embeddings(one.id, other)
    before = agreed(catalog)
    catalog.adopt(Kind.RECORDING, "other")
    after = agreed(catalog)
    assert before.recordings_of[Kind.RECORDING] == after.recordings_of[Kind.RECORDING] == 1
    assert after.segments[Kind.RECORDING] == len(other[Kind.RECORDING])
    catalog.remove([one.id])
    assert agreed(catalog) == totals.Totals(0, 0.0, {}, {}, {})


def test_many_recordings_are_added_in_one_transaction_and_known_ones_left_out(catalog, random):
    def addition(number):
        made = {Kind.RECORDING: Embeddings(unit_vectors(random), 0.5, "toy")}
        return Addition(Tags(title=str(number)), 10.0, f"/{number}.wav", f"sound {number}", made)

    first = catalog.add_many([addition(1), addition(2)])
    revision = catalog.state().revision
    again = catalog.add_many([addition(2), addition(3), addition(3)])
    assert catalog.state().revision == revision + 1
    assert [each.title for each in catalog.recordings()] == ["1", "2", "3"]
    assert sorted(first + again) == [each.id for each in catalog.recordings()]
    assert agreed(catalog).duration == 30.0


def test_counts_are_right_after_a_change_by_a_version_that_does_not_count(catalog, random):
    add(catalog, random, "one")
    with catalog.database.writing() as connection:
        connection.execute(text("DELETE FROM embeddings"))
        connection.execute(text("DELETE FROM recordings"))
        connection.execute(update(tables.library).values(revision=tables.library.c.revision + 1))
    assert catalog.totals().recordings == 0
    add(catalog, random, "two")
    assert agreed(catalog).recordings == 1


def test_wrong_counts_are_reported_and_counted_again(catalog, random):
    add(catalog, random, "one")
    with catalog.database.writing() as connection:
        connection.execute(update(tables.totals).values(recordings=7))
    assert any("counts" in problem for problem in catalog.problems())
    catalog.recount()
    assert catalog.problems() == [] and catalog.totals().recordings == 1


@pytest.mark.parametrize("order", ["id", "-id", "title", "-title", "-added_at", "artists"])
@pytest.mark.parametrize("few", [0, 500])
def test_a_page_is_a_part_of_the_whole_list(catalog, random, monkeypatch, order, few):
    monkeypatch.setattr("songprint.store.catalog.FEW", few)
    for title in ("Blue", "Árbol", "Red", "Blues", "blue moon"):
        add(catalog, random, title)
    for query in ("", "blue", "BLUE moon", "nothing", "é"):
        whole = catalog.recordings(query, order=order)
        for offset in (0, 1, 2, 9):
            assert catalog.page(query, order=order, offset=offset, limit=2) == (
                whole[offset : offset + 2],
                catalog.count(query),
            )


def test_an_index_serves_each_order_and_the_search_in_sqlite(catalog, database_url):
    if database_url:
        pytest.skip("other databases choose by themselves")
    with catalog.database.reading() as connection:

        def plan(statement):
            return "\n".join(row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"))

        for column in ("title", "artists", "album", "year", "duration", "added_at"):
            assert "TEMP B-TREE" not in plan(f"SELECT * FROM recordings ORDER BY {column}, id LIMIT 9"), column
        assert "COVERING INDEX recordings_by_search" in plan("SELECT id FROM recordings WHERE search LIKE '%a%'")


def test_the_migration_counts_what_an_older_library_contains(catalog, random):
    add(catalog, random, "one")
    expected = catalog.totals()
    from songprint.store import schema

    with catalog.database.writing() as connection:
        connection.execute(text("DROP TABLE totals"))
        schema._add_totals(connection)
    assert np.isclose(agreed(catalog).duration, expected.duration) and catalog.totals().recordings == 1
