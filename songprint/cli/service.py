"""What the operator of a service does: workers, the queue, keys, usage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from songprint.cli import output
from songprint.cli.commands import command, log_as_asked, main, print_json
from songprint.cli.following import stopped_by_signals
from songprint.cli.output import printable
from songprint.cli.program import DONE, FAILED, Common, Program, common_options
from songprint.errors import JobError

if TYPE_CHECKING:
    from songprint.accounts.keys import Key, Keys
    from songprint.jobs.deliveries import Delivery
    from songprint.jobs.jobs import Job, Jobs
    from songprint.store.catalog import Catalog

STATES = ("waiting", "running", "finished", "failed", "cancelled")
SCOPES = ("identify", "write", "admin")


def group(name: str, told: str) -> Callable[[str], Callable]:
    """A command that has commands: a decorator for them, as `command` is one for those of `main`."""
    made = main.group(name, cls=Program, help=told)(lambda: None)

    def subcommand(name: str) -> Callable:
        return lambda function: made.command(name)(common_options(click.pass_obj(function)))

    return subcommand


jobs = group("jobs", "Look after the queue of the service.")
keys = group("keys", "Say who may ask the service, and for what.")


@command("worker")
@click.option(
    "--processes",
    type=click.IntRange(min=1, max=256),
    default=1,
    metavar="N",
    show_default=True,
    help="Processes to use: each scans one recording at a time, and takes about a core.",
)
def worker(common: Common, processes: int) -> int:
    """Work off the jobs of the service: fetch recordings, scan them, call back.

    Any number of workers may run, on any number of machines that share a database. Ctrl-C or SIGTERM ends them: jobs
    at hand are given back and begun anew by others. A process that dies is started again.
    """
    from songprint.server.pool import Opening

    with _catalog(common):  # there is one: the processes need not say that there is none
        opening = Opening(common.settings().library, (), common.settings().single_threaded())
    with stopped_by_signals() as stop:
        workers = opening.job_workers(processes)
        if not common.quiet:
            output.say(
                f"songprint: {output.counted(processes, 'worker')} for the library at {opening.path};"
                " Ctrl-C or SIGTERM ends"
            )
        stop.wait()
        workers.close()
    return DONE


@jobs("list")
@click.option("--state", type=click.Choice(STATES), multiple=True, help="Only those in this state; may be repeated.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    metavar="N",
    show_default=True,
    help="How many, the latest first.",
)
def list_jobs(common: Common, state: Sequence[str], limit: int) -> None:
    """List jobs, the latest first: id, state, when it was submitted, and what is scanned."""
    with _catalog(common) as catalog:
        found = _jobs(catalog).find(state=state or STATES, limit=limit)
    if common.json:
        from songprint.jobs.jobs import job_object

        print_json(map(job_object, found))
        return
    for job in found:
        state = f"{job.state} {100 * job.progress:.0f} %" if job.state == "running" else job.state
        print(
            printable(
                f"{job.id}  {state:13}  {_moment(job.created_at)}  {_called(job)}"
                f"{f'  {job.error_code}: {job.error}' if job.error_code else ''}"
            )
        )


@jobs("show")
@click.argument("job_id", metavar="JOB")
def show_job(common: Common, job_id: str) -> None:
    """Show a job: how it went, the songs that were found, and every attempt at its callbacks."""
    from songprint.jobs.deliveries import Deliveries, delivery_object
    from songprint.jobs.jobs import job_object

    with _catalog(common) as catalog:
        job = _jobs(catalog).get(job_id)
        deliveries = Deliveries(catalog.database).of_job(job_id)
    if common.json:
        print_json([job_object(job) | {"deliveries": [delivery_object(each) for each in deliveries]}])
        return
    output.print_fields(
        {
            "job": job.id,
            "state": job.state,
            "input": _called(job),
            "priority": job.priority,
            "key": job.key_id,
            "submitted": _moment(job.created_at),
            "begun": _moment(job.started_at),
            "ended": _moment(job.finished_at),
            "attempts": job.attempts,
            "worker": job.worker,
            "error": job.error,
            "length": output.duration(job.seconds) if job.result else "",
        }
    )
    if job.result:
        from songprint.cli.timelines import print_timeline
        from songprint.formats.objects import timeline_from_object

        print_timeline(timeline_from_object(job.result), _called(job))
    for delivery in deliveries:
        _print_delivery(delivery)


@jobs("cancel")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
def cancel_jobs(common: Common, job_ids: Sequence[str]) -> int:
    """End jobs that wait or run.

    Exit status: 0 if all were ended, 2 if one could not be; the others are all the same.
    """
    return _each(common, job_ids, lambda catalog, job_id: _jobs(catalog).cancel(job_id))


@jobs("retry")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
def retry_jobs(common: Common, job_ids: Sequence[str]) -> int:
    """Queue jobs again that failed or were cancelled.

    Exit status: 0 if all were queued, 2 if one could not be; the others are all the same.
    """
    return _each(common, job_ids, lambda catalog, job_id: _jobs(catalog).retry(job_id))


@jobs("resend")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
def resend_callbacks(common: Common, job_ids: Sequence[str]) -> int:
    """Send the callbacks of jobs again, whether they arrived or not; a worker has to run.

    Exit status: 0 if all will be sent, 2 if one cannot be; the others are all the same.
    """
    from songprint.jobs.deliveries import Deliveries

    def resend(catalog: Catalog, job_id: str) -> Job:
        Deliveries(catalog.database).resend(job_id)
        return _jobs(catalog).get(job_id)

    return _each(common, job_ids, resend)


@jobs("forget")
@click.option(
    "--days", type=click.FloatRange(min=0), required=True, metavar="N", help="Those that ended so many days ago."
)
def forget_jobs(common: Common, days: float) -> None:
    """Delete old jobs with their inputs, results, callbacks and verdicts. Usage is kept."""
    from songprint.jobs.inputs import Inputs

    with _catalog(common) as catalog:
        Inputs(catalog.folder, catalog.database).remove_old(86_400 * days)
        number = _jobs(catalog).forget(days)
        _note(catalog, "jobs.forget", f"{number} that ended {days:g} days ago")
    if common.json:
        print_json([{"forgotten": number}])
    elif not common.quiet:
        print(f"{output.counted(number, 'job')} forgotten")


@keys("create")
@click.option("--name", required=True, help="Whose key it is, for you to know later.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="identify",
    show_default=True,
    help="What it may do; each includes those before it.",
)
@click.option(
    "--parent", metavar="KEY", help="The key under which it is made: it has no more rights, and ends with it."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Requests per second that it may make. Default: as its parent, or no limit of its own.",
)
def create_key(common: Common, name: str, scope: str, parent: str | None, rate: float | None) -> None:
    """Make a key, and show its secrets this once.

    SecretId and SecretKey are for programs that sign their requests as Tencent Cloud's SDKs do; the token is for the
    REST API. Makes the library if there is none.
    """
    from songprint.accounts.keys import key_object

    with _catalog(common, create=True) as catalog:
        made = _keys(catalog).create(name, scope, parent, rate)
        _note(catalog, "keys.create", f"{made.key.id} {name} ({scope})")
    if common.json:
        print_json([key_object(made.key) | {"secret_key": made.secret_key, "token": made.token}])
        return
    output.print_fields({"SecretId": made.key.id, "SecretKey": made.secret_key, "token": made.token})
    if not common.quiet:
        output.say("songprint: keep SecretKey and token now; they are not shown again")


@keys("list")
@click.option("--all", "revoked", is_flag=True, help="Also those that were revoked.")
def list_keys(common: Common, revoked: bool) -> None:
    """List the keys in use: id, scope, rate, when it was made, name."""
    with _catalog(common) as catalog:
        found = _keys(catalog).all(revoked=revoked)
    if common.json:
        from songprint.accounts.keys import key_object

        print_json(map(key_object, found))
        return
    for key in found:
        print(printable(_line(key)))


@keys("revoke")
@click.argument("key_ids", nargs=-1, required=True, metavar="KEY...")
def revoke_keys(common: Common, key_ids: Sequence[str]) -> None:
    """End keys, and all that were made under them. What they asked for and used stays on record."""
    with _catalog(common) as catalog:
        ended = [key for key_id in dict.fromkeys(key_ids) for key in _keys(catalog).revoke(key_id)]
        _note(catalog, "keys.revoke", " ".join(key.id for key in ended))
    if common.json:
        from songprint.accounts.keys import key_object

        print_json(map(key_object, ended))
    elif not common.quiet:
        for key in ended:
            print(printable(_line(key)))


@command("usage")
@click.option("--since", metavar="DAY", default="", help="From this day on, as 2025-06-13 (UTC).")
@click.option("--until", metavar="DAY", default="", help="Up to this day, which is included.")
@click.option("--key", "key_id", metavar="KEY", help="Of this key and those made under it. Default: of all.")
@click.option("--price", type=click.FloatRange(min=0), metavar="N", help="Per minute: also tell what it costs.")
@click.option("--csv", "as_csv", is_flag=True, help="As a table for a spreadsheet.")
def usage(common: Common, since: str, until: str, key_id: str | None, price: float | None, as_csv: bool) -> None:
    """What was scanned and named: seconds of input by day and key, and the minutes that are billed.

    The seconds of a day are summed and rounded up to minutes. Jobs that failed count nothing.
    """
    from songprint.jobs.usage import Usage, to_csv, used_object

    with _catalog(common) as catalog:
        found = Usage(catalog.database).by_day(_keys(catalog).family(key_id) if key_id else None, since, until)
    if common.json:
        print_json([used_object(used, price) for used in found])
    elif as_csv:
        sys.stdout.write(to_csv(found, price))
    else:
        for used in found:
            cost = f"{used.cost(price):>10.2f}" if price is not None else ""
            print(
                f"{used.day}  {output.counted(used.jobs, 'job'):>9}  {output.duration(used.seconds):>9}"
                f"{used.minutes:>7,} min{cost}  {used.key or 'without a key'}"
            )


def _each(common: Common, job_ids: Sequence[str], change: Callable[[Catalog, str], Job]) -> int:
    """Change one job after the other; what cannot be done with one does not keep the others from it."""
    status = DONE
    with _catalog(common) as catalog:
        for job_id in dict.fromkeys(job_ids):
            try:
                job = change(catalog, job_id)
            except JobError as error:
                output.say(f"songprint: {error}")
                status = FAILED
                continue
            if common.json:
                from songprint.jobs.jobs import job_object

                print_json([job_object(job)])
            elif not common.quiet:
                print(f"{job.id}  {job.state}")
    return status


@contextmanager
def _catalog(common: Common, *, create: bool = False) -> Iterator[Catalog]:
    """The catalogue alone, which is opened in a moment: nothing here needs what searches."""
    from songprint.store.catalog import Catalog

    log_as_asked(common)
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


def _note(catalog: Catalog, action: str, subject: str) -> None:
    from songprint.accounts.audit import Audit

    Audit(catalog.database).note("", action, subject)


def _called(job: Job) -> str:
    from songprint.outside.places import name_of

    return name_of(job.input)


def _moment(moment: str) -> str:
    """In the time of this machine, to the second."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _line(key: Key) -> str:
    rate = f"{key.rate:g}/s" if key.rate else ""
    under = f"  under {key.parent}" if key.parent else ""
    return (
        f"{key.id}  {key.scope:8}  {rate:>6}  {_moment(key.created_at)}  {key.name}{under}"
        f"{'  (revoked)' if key.revoked_at else ''}"
    )


def _print_delivery(delivery: Delivery) -> None:
    print(printable(f"callback to {delivery.url}: {delivery.state}"))
    for attempt in delivery.attempts:
        told = attempt.error or f"arrived, status {attempt.status}"
        print(printable(f"    {_moment(attempt.at)}  {told} ({attempt.elapsed:.1f} s)"))
