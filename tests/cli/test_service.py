"""The commands for running a service: worker, jobs, keys, usage."""

from __future__ import annotations

import csv
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.children import environment
from support.commandline import assert_one_line, json_lines, run
from support.jobs import CALLBACK, URL

from songprint.accounts.audit import Audit
from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.formats.objects import timeline_object
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.jobs import Jobs
from songprint.jobs.usage import Usage
from songprint.store.catalog import Catalog
from songprint.types import Timeline

TIMELINE = timeline_object(Timeline([], [], duration=90.5, thresholds={}, searched=5, elapsed=1.0, source="mix.mp3"))


@pytest.fixture
def catalog(toy_command, tmp_path: Path) -> Iterator[Catalog]:
    """The catalogue of the library that the commands use."""
    catalog = Catalog(tmp_path / "library", create=True)
    yield catalog
    catalog.close()


@pytest.fixture
def jobs(catalog) -> Jobs:
    return Jobs(catalog.database, Vault(catalog.database, catalog.folder))


def test_jobs_are_listed_the_latest_first(jobs):
    first = jobs.submit(URL)
    second = jobs.submit({"type": "cos", "bucket": "b-1", "region": "", "object": "/a/\x1b[31mb.mp4"})
    jobs.fail(jobs.claim("worker"), "input_not_found", "example.org answers with status 404", retry=False)
    lines = run("jobs", "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[second.id, "waiting"], [first.id, "failed"]]
    assert "a/\\x1b[31mb.mp4" in lines[0]
    assert lines[1].endswith("mix.mp3  input_not_found: example.org answers with status 404")
    assert [job["id"] for job in json_lines(run("jobs", "list", "--state", "failed", "--json"))] == [first.id]
    assert len(run("jobs", "list", "--limit", "1").stdout.splitlines()) == 1


def test_jobs_show_prints_the_result_and_the_callbacks(catalog, jobs):
    job = jobs.submit(URL, {"callback": CALLBACK}, priority=3)
    jobs.finish(jobs.claim("worker 1"), TIMELINE, 90.5)
    deliveries = Deliveries(catalog.database)
    deliveries.attempted(deliveries.claim(), status=503, error="the receiver answers with status 503", elapsed=0.2)
    shown = run("jobs", "show", job.id).stdout
    for expected in (
        job.id,
        "finished",
        "mix.mp3",
        "1:30",
        "worker 1",
        "0 songs",
        "callback to http://receiver.example.org:5000//callback: waiting",
        "status 503 (0.2 s)",
    ):
        assert expected in shown
    [shown_job] = json_lines(run("jobs", "show", job.id, "--json"))
    assert (shown_job["state"], shown_job["result"]["duration"]) == ("finished", 90.5)
    assert len(shown_job["deliveries"][0]["attempts"]) == 1
    assert "k3y" not in shown and "k3y" not in str(shown_job)


def test_jobs_are_cancelled_retried_and_their_callbacks_sent_again(catalog, jobs):
    one, other = jobs.submit(URL, {"callback": CALLBACK}), jobs.submit(URL)
    cancelled = run("jobs", "cancel", one.id, "nobody", other.id)
    assert cancelled.stdout.splitlines() == [f"{one.id}  cancelled", f"{other.id}  cancelled"]
    assert cancelled.exit_code == 2
    assert_one_line(cancelled.stderr)
    assert json_lines(run("jobs", "resend", one.id, "--json"))[0]["state"] == "cancelled"
    assert Deliveries(catalog.database).due() == 1
    assert run("jobs", "retry", one.id).stdout == f"{one.id}  waiting\n"
    again = run("jobs", "retry", one.id)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is waiting: only failed and cancelled jobs can be retried" in again.stderr


def test_old_jobs_are_deleted(jobs):
    job = jobs.submit(URL)
    jobs.cancel(job.id)
    assert run("jobs", "forget", "--days", 1).stdout == "0 jobs deleted\n"
    assert json_lines(run("jobs", "forget", "--days", 0, "--json")) == [{"forgotten": 1}]
    assert run("jobs", "list").stdout == ""
    assert run("jobs", "forget").exit_code == 2  # --days is required


def test_keys_are_created_listed_and_revoked(catalog):
    [label] = json_lines(run("keys", "create", "--name", "the label", "--scope", "write", "--rate", 5, "--json"))
    shown = run("keys", "create", "--name", "a player", "--parent", label["id"])
    fields = dict(line.split(None, 1) for line in shown.stdout.splitlines())
    keys = Keys(catalog.database, Vault(catalog.database, catalog.folder))
    player = keys.by_token(fields["token:"])
    assert keys.by_secret_id(fields["SecretId:"]) == (player, fields["SecretKey:"])
    assert (player.scope, player.rate, player.parent) == ("identify", 5.0, label["id"])
    assert "they are not shown again" in shown.stderr

    listed = run("keys", "list").stdout
    assert "the label" in listed and f"under {label['id']}" in listed and label["token"] not in listed
    assert [key["id"] for key in json_lines(run("keys", "revoke", label["id"], "--json"))] == [label["id"], player.id]
    assert run("keys", "list").stdout == ""
    assert run("keys", "list", "--all").stdout.count("(revoked)") == 2
    entries = Audit(catalog.database).entries()
    assert [entry.action for entry in entries] == ["keys.revoke", "keys.create", "keys.create"]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert {(entry.key_id, entry.actor) for entry in entries} == {("", f"command line, user {user}")}


def test_a_key_with_more_rights_than_its_parent_is_refused(catalog):
    [label] = json_lines(run("keys", "create", "--name", "the label", "--json"))
    refused = run("keys", "create", "--name", "root", "--scope", "admin", "--parent", label["id"])
    assert refused.exit_code == 2
    assert_one_line(refused.stderr)
    assert "has the scope identify: its sub-keys cannot have admin" in refused.stderr


def test_keys_can_be_created_before_music_is_added(toy_command, tmp_path):
    assert run("keys", "create", "--name", "me").exit_code == 0
    assert (tmp_path / "library" / "master.key").is_file()


def test_usage_is_reported_by_day_and_key(catalog, jobs):
    [label] = json_lines(run("keys", "create", "--name", "the label", "--json"))
    [player] = json_lines(run("keys", "create", "--name", "a player", "--parent", label["id"], "--json"))
    for key_id, seconds in ((player["id"], 90.5), (player["id"], 20.0), ("", 30.0)):
        jobs.submit(URL, key_id=key_id)
        jobs.finish(jobs.claim("worker"), TIMELINE, seconds)
    [used] = Usage(catalog.database).by_day(player["id"])
    assert run("usage").stdout.splitlines()[0].split() == [
        used.day,
        "1",
        "job",
        "0",
        "queries",
        "0:30",
        "1",
        "min",
        "without",
        "a",
        "key",
    ]
    [row] = csv.DictReader(run("usage", "--csv", "--price", 0.44, "--key", label["id"]).stdout.splitlines())
    assert row == {
        "day": used.day,
        "key": player["id"],
        "jobs": "2",
        "queries": "0",
        "seconds": "110.500",
        "minutes": "2",
        "cost": "0.88",
    }
    [usage] = json_lines(run("usage", "--json", "--key", player["id"], "--since", used.day, "--until", used.day))
    assert (usage["seconds"], usage["minutes"], usage["key"]) == (110.5, 2, player["id"])
    assert run("usage", "--until", "2020-01-01").stdout == ""
    wrong = run("usage", "--since", "yesterday")
    assert wrong.exit_code == 2
    assert_one_line(wrong.stderr)


@pytest.mark.skipif(os.name == "nt", reason="needs the signals of Unix")
def test_dead_workers_are_restarted_and_workers_stop_on_sigterm(tmp_path):
    library = tmp_path / "library"
    upload = tmp_path / "notes.mp3"
    with closing(Catalog(library, create=True)) as catalog:
        jobs = Jobs(catalog.database, Vault(catalog.database, catalog.folder))

        def failed() -> str:
            upload.write_text("no music")
            job = jobs.wait(jobs.submit({"type": "file", "path": str(upload), "name": "notes.mp3"}).id, 180)
            return f"{job.state}: {job.error_code}"

        process = subprocess.Popen(
            [sys.executable, "-m", "songprint", "--library", library, "worker"],
            text=True,
            env=environment() | {"HOME": str(tmp_path)},
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stderr.readline() == (
                f"songprint: 1 worker for the library at {library}; stop with Ctrl-C or SIGTERM\n"
            )
            assert failed() == "failed: input_unreadable"
            [first] = {job.worker for job in jobs.find()}
            os.kill(int(first.split("-")[-2]), signal.SIGKILL)
            assert failed() == "failed: input_unreadable"
            assert len({job.worker for job in jobs.find()}) == 2
            process.terminate()
            assert process.wait(60) == 0
            assert "songprint-jobs-0: its process died in run_jobs (SIGKILL)" in process.stderr.read()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


def test_a_worker_needs_a_library(toy_command):
    refused = run("worker")
    assert refused.exit_code == 2
    assert_one_line(refused.stderr)


def test_the_timeline_of_a_job_is_exported_in_any_format(jobs):
    job = jobs.submit(URL)
    result = run("jobs", "export", job.id, "--format", "vtt")
    assert result.exit_code == 2 and "is waiting" in result.stderr
    claimed = jobs.claim("worker")
    jobs.heartbeat(claimed, 0.5, TIMELINE)
    result = run("jobs", "export", job.id, "--format", "vtt")
    assert result.stdout.startswith("WEBVTT") and "is running" in result.stderr
    jobs.finish(claimed, TIMELINE, 90.5)
    assert run("jobs", "export", job.id, "--format", "vtt").stdout == "WEBVTT\n"
    assert run("jobs", "export", job.id, "--corrected").stdout.splitlines()[0] == "mix.mp3: 1:30, 0 songs"
