"""The commands for running a service: serve, worker, jobs, keys, usage."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click

from songprint.cli import output
from songprint.cli.commands import command, main, note_change, open_library, print_json, set_up_logging
from songprint.cli.exporting import Outputs, format_options, show
from songprint.cli.following import stopped_by_signals
from songprint.cli.output import printable
from songprint.cli.program import DONE, FAILED, Common, Program, common_options
from songprint.errors import JobError, JobStateError

if TYPE_CHECKING:
    from songprint.accounts.keys import Key, Keys
    from songprint.formats import schema
    from songprint.jobs.deliveries import Delivery
    from songprint.jobs.jobs import Job, Jobs
    from songprint.store.catalog import Catalog

STATES = ("waiting", "running", "finished", "failed", "cancelled")
SCOPES = ("identify", "write", "admin")

Function = Callable[..., "int | None"]  # of a command; its first argument is the `Common`


def group(name: str, summary: str) -> Callable[[str], Callable[[Function], click.Command]]:
    """Create a group of commands. Return the decorator that adds a command to it, like `command` for `main`."""
    commands = main.group(name, cls=Program, help=summary)(lambda: None)

    def subcommand(name: str) -> Callable[[Function], click.Command]:
        return lambda function: commands.command(name)(common_options(click.pass_obj(function)))

    return subcommand


jobs = group("jobs", "List, show and control the jobs of the service.")
keys = group("keys", "Create, list and revoke API keys.")


@command("serve")
@click.option("--host", metavar="ADDRESS", help="The address to listen on. Default: setting `host`, or 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="The port; 0 selects any free one. Default: setting `port`, or 8080.",
)
@click.option(
    "--jobs",
    "job_processes",
    type=click.IntRange(min=0),
    metavar="N",
    help="Number of workers to start. Default: setting `job_processes`, or 1.",
)
@click.option("--log-requests", is_flag=True, help="Log every request to standard error.")
def serve(common: Common, host: str | None, port: int | None, job_processes: int | None, log_requests: bool) -> None:
    """Run the service: the web page, the APIs and workers.

    Serves the REST API and the Tencent-compatible API. Creates the library if there is none. Without keys only this
    machine can connect; create keys with `songprint keys create` before listening on other addresses. Stops on Ctrl-C
    or SIGTERM; running jobs return to the queue.
    """
    from songprint import server

    server.check_installed()
    from songprint.server import running

    settings = common.settings()
    options: dict[str, Any] = {"host": host, "port": port, "job_processes": job_processes}
    given = {name: value for name, value in options.items() if value is not None}
    settings = replace(settings, server=replace(settings.server, **given))

    def print_address(started: running.Started) -> None:
        if common.json:
            print_json([{"url": started.url, "keys": not started.open_to_all}])
        elif not common.quiet:
            click.echo(f"Songprint listens on {started.url} (API: {started.url}/docs)")
        note_change(library.store.catalog, "server.start", started.url)
        if started.open_to_all:
            output.say(
                "songprint: there are no keys: every user of this machine has full access, and no other machine can"
                " connect. Create one with `songprint keys create`"
            )

    with open_library(common, create=True) as library:
        if log_requests:
            logging.getLogger("songprint.server.guard").setLevel("INFO")
        try:
            running.serve(library, settings, on_start=print_address)
        except KeyboardInterrupt:  # raised after an orderly shutdown
            output.say("songprint: stopped")


@command("worker")
@click.option(
    "--processes",
    type=click.IntRange(min=1, max=256),
    default=1,
    metavar="N",
    show_default=True,
    help="Number of processes. Each scans one recording at a time and uses about one core.",
)
def worker(common: Common, processes: int) -> int:
    """Process the jobs of the service.

    Fetches recordings, scans them, stores the results and sends callbacks. Any number of workers may run, on any number
    of machines that share a database. Stops on Ctrl-C or SIGTERM; running jobs return to the queue. A process that dies
    is restarted.
    """
    from songprint.server.pool import Opening

    with open_catalog(common):  # report a missing library once, not once per process
        opening = Opening(common.settings().library, (), common.settings().single_threaded())
    with stopped_by_signals() as stop:
        workers = opening.job_workers(processes)
        if not common.quiet:
            output.say(
                f"songprint: {output.counted(processes, 'worker')} for the library at {opening.path};"
                " stop with Ctrl-C or SIGTERM"
            )
        stop.wait()
        workers.close()
    return DONE


@jobs("list")
@click.option(
    "--state", type=click.Choice(STATES), multiple=True, help="List only jobs in this state; may be repeated."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    metavar="N",
    show_default=True,
    help="Maximum number of jobs.",
)
def list_jobs(common: Common, state: Sequence[str], limit: int) -> None:
    """List jobs, the latest first.

    Prints the id, the state, the submission time, the input, and the error if there is one.
    """
    with open_catalog(common) as catalog:
        found = _jobs(catalog).find(state=state or STATES, limit=limit)
    if common.json:
        from songprint.jobs.jobs import job_object

        print_json(map(job_object, found))
        return
    for job in found:
        shown_state = f"{job.state} {100 * job.progress:.0f}%" if job.state == "running" else job.state
        print(
            printable(
                f"{job.id}  {shown_state:13}  {_moment(job.created_at)}  {_input_name(job)}"
                f"{f'  {job.error_code}: {job.error}' if job.error_code else ''}"
            )
        )


@jobs("show")
@click.argument("job_id", metavar="JOB")
def show_job(common: Common, job_id: str) -> None:
    """Show a job, its songs and its callbacks."""
    from songprint.jobs.deliveries import Deliveries, delivery_object
    from songprint.jobs.jobs import job_object

    with open_catalog(common) as catalog:
        job = _jobs(catalog).get(job_id)
        deliveries = Deliveries(catalog.database).of_job(job_id)
    if common.json:
        print_json([job_object(job) | {"deliveries": [delivery_object(each) for each in deliveries]}])
        return
    output.print_fields(
        {
            "job": job.id,
            "state": job.state,
            "input": _input_name(job),
            "priority": job.priority,
            "key": job.key_id,
            "submitted": _moment(job.created_at),
            "started": _moment(job.started_at),
            "finished": _moment(job.finished_at),
            "attempts": job.attempts,
            "worker": job.worker,
            "error": job.error,
            "duration": output.duration(job.seconds) if job.result else "",
        }
    )
    if timeline := job.result or job.partial:
        from songprint.formats.objects import timeline_from_object

        output.print_timeline(timeline_from_object(cast("schema.Timeline", timeline)), _input_name(job))
    for delivery in deliveries:
        _print_delivery(delivery)


@jobs("export")
@click.argument("job_id", metavar="JOB")
@format_options
@click.option("--corrected", is_flag=True, help="Apply the reviewers' verdicts to the timeline.")
def export_job(common: Common, job_id: str, formats: Sequence[str], outputs: Sequence[str], corrected: bool) -> None:
    """Write the timeline of a job in any format.

    Of a running job, this is what it has found so far. Without --format, the timeline is printed.
    """
    from songprint.formats.objects import timeline_from_object
    from songprint.jobs.verdicts import reviewed

    writing = Outputs(formats, outputs, [job_id])
    with open_catalog(common) as catalog:
        job = _jobs(catalog).get(job_id)
        found = job.result or job.partial
        if found is None:
            raise JobStateError(f"job {job_id} is {job.state}: it has no timeline")
        timeline = timeline_from_object(cast("schema.Timeline", found))
        if corrected:
            timeline = reviewed(timeline, job_id, catalog)
    if not job.ended:
        output.say(f"songprint: job {job_id} is {job.state}: this is what it has found so far")
    show(common, timeline, _input_name(job) or job.id, writing)


@jobs("cancel")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
def cancel_jobs(common: Common, job_ids: Sequence[str]) -> int:
    """Cancel waiting or running jobs.

    Exit status: 0 if all were cancelled, 2 if one could not be; the others are cancelled anyway.
    """
    return _each(common, job_ids, "jobs.cancel", lambda catalog, job_id: _jobs(catalog).cancel(job_id))


@jobs("retry")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
def retry_jobs(common: Common, job_ids: Sequence[str]) -> int:
    """Queue failed or cancelled jobs again.

    Exit status: 0 if all were queued, 2 if one could not be; the others are queued anyway.
    """
    return _each(common, job_ids, "jobs.retry", lambda catalog, job_id: _jobs(catalog).retry(job_id))


@jobs("resend")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
def resend_callbacks(common: Common, job_ids: Sequence[str]) -> int:
    """Send the callbacks of jobs again.

    Callbacks that were delivered are sent again too. A worker must be running.

    Exit status: 0 if all will be sent, 2 if one cannot be; the others are sent anyway.
    """
    from songprint.jobs.deliveries import Deliveries

    def resend(catalog: Catalog, job_id: str) -> Job:
        Deliveries(catalog.database).resend(job_id)
        return _jobs(catalog).get(job_id)

    return _each(common, job_ids, "jobs.resend", resend)


@jobs("forget")
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    required=True,
    metavar="N",
    help="Delete jobs that ended at least this many days ago.",
)
def forget_jobs(common: Common, days: float) -> None:
    """Delete old jobs and all their data except usage.

    Deletes their inputs, results, callbacks and verdicts.
    """
    from songprint.jobs.inputs import Inputs

    with open_catalog(common) as catalog:
        Inputs(catalog.folder, catalog.database).remove_old(86_400 * days)
        number = _jobs(catalog).forget(days)
        note_change(catalog, "jobs.forget", f"{number} that ended {days:g} days ago")
    if common.json:
        print_json([{"forgotten": number}])
    elif not common.quiet:
        print(f"{output.counted(number, 'job')} deleted")


@keys("create")
@click.option("--name", required=True, help="A name that identifies the owner of the key.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="identify",
    show_default=True,
    help="What the key permits; each scope includes those before it.",
)
@click.option(
    "--parent", metavar="KEY", help="Create it under this key: it has at most its scope and rate, and ends with it."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Requests per second. Default: the rate of the parent, or no rate of its own.",
)
def create_key(common: Common, name: str, scope: str, parent: str | None, rate: float | None) -> None:
    """Create a key and print its secrets, once.

    SecretId and SecretKey are for programs that sign requests as in Tencent Cloud's SDKs; the token is for the REST
    API. Creates the library if there is none.
    """
    from songprint.accounts.keys import key_object

    with open_catalog(common, create=True) as catalog:
        made = _keys(catalog).create(name, scope, parent, rate)
        note_change(catalog, "keys.create", f"{made.key.id} {name} ({scope})")
    if common.json:
        print_json([key_object(made.key) | {"secret_key": made.secret_key, "token": made.token}])
        return
    output.print_fields({"SecretId": made.key.id, "SecretKey": made.secret_key, "token": made.token})
    if not common.quiet:
        output.say("songprint: save SecretKey and token now; they are not shown again")


@keys("list")
@click.option("--all", "revoked", is_flag=True, help="Also list revoked keys.")
def list_keys(common: Common, revoked: bool) -> None:
    """List the active keys.

    Prints the id, the scope, the rate, the creation time and the name.
    """
    with open_catalog(common) as catalog:
        found = _keys(catalog).all(revoked=revoked)
    if common.json:
        from songprint.accounts.keys import key_object

        print_json(map(key_object, found))
        return
    for key in found:
        print(printable(_key_line(key)))


@keys("revoke")
@click.argument("key_ids", nargs=-1, required=True, metavar="KEY...")
def revoke_keys(common: Common, key_ids: Sequence[str]) -> None:
    """Revoke keys, and all keys created under them.

    Their jobs and usage are kept.
    """
    with open_catalog(common) as catalog:
        revoked = [key for key_id in dict.fromkeys(key_ids) for key in _keys(catalog).revoke(key_id)]
        note_change(catalog, "keys.revoke", " ".join(key.id for key in revoked))
    if common.json:
        from songprint.accounts.keys import key_object

        print_json(map(key_object, revoked))
    elif not common.quiet:
        for key in revoked:
            print(printable(_key_line(key)))


@command("usage")
@click.option("--since", metavar="DAY", default="", help="From this day, for example 2025-06-13 (UTC).")
@click.option("--until", metavar="DAY", default="", help="Up to and including this day.")
@click.option("--key", "key_id", metavar="KEY", help="Only this key and the keys created under it. Default: all keys.")
@click.option("--price", type=click.FloatRange(min=0), metavar="N", help="Price per minute; adds the cost.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV table.")
def usage(common: Common, since: str, until: str, key_id: str | None, price: float | None, as_csv: bool) -> None:
    """Report usage by day and key.

    Prints the number of jobs and of queries, the duration of their audio and the billed minutes: the seconds of a day
    are summed and rounded up to minutes. Failed jobs count with 0 seconds.
    """
    from songprint.jobs.usage import Usage, to_csv, used_object

    with open_catalog(common) as catalog:
        found = Usage(catalog.database).by_day(_keys(catalog).family(key_id) if key_id else None, since, until)
    if common.json:
        print_json([used_object(used, price) for used in found])
    elif as_csv:
        sys.stdout.write(to_csv(found, price))
    else:
        for used in found:
            queries = f"{used.queries:,} {'query' if used.queries == 1 else 'queries'}"
            cost = f"{used.cost(price):>10.2f}" if price is not None else ""
            print(
                f"{used.day}  {output.counted(used.jobs, 'job'):>9}  {queries:>11}"
                f"  {output.duration(used.seconds):>9}"
                f"{used.minutes:>7,} min{cost}  {used.key or 'without a key'}"
            )


def _each(common: Common, job_ids: Sequence[str], action: str, change: Callable[[Catalog, str], Job]) -> int:
    """Change jobs one after the other and print their states. An error in one does not affect the others."""
    status = DONE
    with open_catalog(common) as catalog:
        for job_id in dict.fromkeys(job_ids):
            try:
                job = change(catalog, job_id)
            except JobError as error:
                output.say(f"songprint: {error}")
                status = FAILED
                continue
            note_change(catalog, action, job_id)
            if common.json:
                from songprint.jobs.jobs import job_object

                print_json([job_object(job)])
            elif not common.quiet:
                print(f"{job.id}  {job.state}")
    return status


@contextmanager
def open_catalog(common: Common, *, create: bool = False) -> Iterator[Catalog]:
    """Open the catalogue alone, which is fast: these commands need no encoder and no index."""
    from songprint.store.catalog import Catalog

    set_up_logging(common)
    settings = common.settings()
    with closing(
        Catalog(settings.library, create=create, busy_timeout=settings.busy_timeout, database=settings.database)
    ) as catalog:
        yield catalog


def _jobs(catalog: Catalog) -> Jobs:
    from songprint.jobs.jobs import Jobs

    return Jobs(catalog.database)


def _keys(catalog: Catalog) -> Keys:
    from songprint.accounts.keys import Keys
    from songprint.accounts.vault import Vault

    return Keys(catalog.database, Vault(catalog.database, catalog.folder))


def _input_name(job: Job) -> str:
    from songprint.outside.places import name_of

    return name_of(job.input)


def _moment(moment: str) -> str:
    """Format an ISO time in the local time zone, to the second."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _key_line(key: Key) -> str:
    rate = f"{key.rate:g}/s" if key.rate else ""
    under = f"  under {key.parent}" if key.parent else ""
    return (
        f"{key.id}  {key.scope:8}  {rate:>6}  {_moment(key.created_at)}  {key.name}{under}"
        f"{'  (revoked)' if key.revoked_at else ''}"
    )


def _print_delivery(delivery: Delivery) -> None:
    print(printable(f"callback to {delivery.url}: {delivery.state}"))
    for attempt in delivery.attempts:
        outcome = attempt.error or f"delivered, status {attempt.status}"
        print(printable(f"    {_moment(attempt.at)}  {outcome} ({attempt.elapsed:.1f} s)"))
