"""`songprint serve`: the service on one machine."""

from __future__ import annotations

import logging
from dataclasses import replace

import click

from songprint.cli import output
from songprint.cli.commands import command, open_library, print_json
from songprint.cli.program import Common


@command("serve")
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: the setting host, or 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="The port; 0 takes any free one. Default: the setting port, or 8080.",
)
@click.option(
    "--jobs",
    "job_processes",
    type=click.IntRange(min=0),
    metavar="N",
    help="Workers to start for jobs. Default: the setting job_processes, or 1.",
)
@click.option("--log-requests", is_flag=True, help="A line on standard error for every request.")
def serve(common: Common, host: str | None, port: int | None, job_processes: int | None, log_requests: bool) -> None:
    """Run the service: the REST API, the one compatible with Tencent's, and workers for jobs.

    Makes the library if there is none. Without keys only this machine can connect; make keys with `songprint keys
    create` before listening elsewhere. Ctrl-C or SIGTERM end it; jobs under way are given back and go on later.
    """
    from songprint import server

    server.check_installed()
    from songprint.server import running

    settings = common.settings()
    given = {"host": host, "port": port, "job_processes": job_processes}
    settings = replace(
        settings, server=replace(settings.server, **{name: value for name, value in given.items() if value is not None})
    )

    def told(started: running.Started) -> None:
        if common.json:
            print_json([{"url": started.url, "keys": not started.open_to_all}])
        elif not common.quiet:
            click.echo(f"Songprint listens on {started.url} (API: {started.url}/docs)")
        if started.open_to_all:
            output.say(
                "songprint: there are no keys: whoever is at this machine may do everything, and no other"
                " machine can connect. `songprint keys create` makes one"
            )

    with open_library(common, create=True) as library:
        if log_requests:
            logging.getLogger("songprint.server.guard").setLevel("INFO")
        try:
            running.serve(library, settings, on_start=told)
        except KeyboardInterrupt:  # of Ctrl-C, after everything has ended in order
            output.say("songprint: stopped")
