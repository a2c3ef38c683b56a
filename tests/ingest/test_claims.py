"""Several machines add the same folders: each file is read by one of them."""

import threading

from sqlalchemy import func, insert, select
from support import toy

from songprint.ingest import add as adding
from songprint.ingest import update
from songprint.ingest.claims import Claims
from songprint.kinds import open_store
from songprint.store.places import path_key
from songprint.store.tables import claims


def held(catalog) -> int:
    with catalog.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(claims))


def test_a_file_is_claimed_once(catalog):
    with Claims(catalog) as one, Claims(catalog) as other:
        assert one.take(["/a", "/b"]) == {"/a", "/b"}
        assert other.take(["/b", "/c"]) == {"/c"}
        one.drop(["/b", "/unknown"])
        assert other.take(["/b"]) == {"/b"}
        assert one.take(["/b"]) == set()
    assert held(catalog) == 0


def test_claims_are_extended_and_those_of_a_machine_that_failed_expire(store):
    with Claims(store.catalog, lease=0.2) as one, Claims(store.catalog, lease=0.2) as other:
        assert one.take(["/a"]) == {"/a"}
        with store.catalog.database.writing() as connection:
            connection.execute(insert(claims).values(path_hash=path_key("/b"), holder="off", until=1))
            connection.execute(insert(claims).values(path_hash=path_key("/c"), holder="clock", until=2**60))
        threading.Event().wait(0.5)
        assert other.take(["/a", "/b", "/c"]) == {"/b", "/c"}, "the first is alive, and no lease is years long"


def test_two_machines_share_a_folder(tmp_path, store, songs, monkeypatch):
    monkeypatch.setattr(update, "CLAIMED_AT_ONCE", 1)
    monkeypatch.setattr(update, "POLL_SECONDS", 0.05)
    both = threading.Barrier(2, timeout=20)
    reports = {}

    class Waiting(toy.ToyEncoder):
        """Waits in the first file for the other machine to read one as well."""

        def encode_stream(self, blocks):
            if not both.broken and threading.current_thread().name not in reports:
                reports[threading.current_thread().name] = None
                both.wait()
            return super().encode_stream(blocks)

    def machine() -> None:
        with open_store(store.path, encoder=Waiting()) as own:
            reports[threading.current_thread().name] = adding.add(own, songs, workers=1, share=True)

    threads = [threading.Thread(target=machine, name=name) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(report.added for report in reports.values()), "both have read files"
    added = [recording.id for report in reports.values() for recording in report.added]
    assert len(added) == len(set(added)) == len(songs)
    assert all(len(report.added) + len(report.known) == len(songs) for report in reports.values())
    assert store.catalog.count() == len(songs) and held(store.catalog) == 0


def test_the_files_of_a_machine_that_failed_are_taken_over(store, songs, monkeypatch):
    monkeypatch.setattr(update, "POLL_SECONDS", 0.05)
    with Claims(store.catalog, lease=0.3) as failed:
        failed.take([str(song) for song in songs])
        failed._ended.set()  # it is not extended any more
        report = adding.add(store, songs, workers=1, share=True)
    assert len(report.added) == len(songs)
