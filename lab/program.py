"""What programs of the lab share: options of the command line, tables in Markdown, jobs in several processes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

OPTIONS: dict[str, tuple[type, str]] = {  # of several programs: type and help
    "data": (Path, "folder of lab.data.corpus"),
    "noise": (Path, "folder of ambience recordings (.opus)"),
    "scores": (Path, "output of lab.data.scores"),
    "covers": (Path, "output of lab.data.render_covers"),
    "tonal": (Path, "output of lab.data.cover_features and lab.data.imagine"),
    "crema": (Path, "output of lab.data.teacher"),
    "voices": (Path, "output of lab.data.sing"),
    "out": (Path, "file or folder to write"),
    "splits": (str, "splits of the corpus, separated by commas"),
    "processes": (int, "number of processes"),
    "threads": (int, "of PyTorch"),
    "seed": (int, "of all random choices"),
    "report": (Path, "write the figures into this page"),
}
DATA = Path("data")  # default of --data
CORES = os.cpu_count()  # default of --processes


def parser(description: str | None, *required: str, **defaults: object) -> argparse.ArgumentParser:
    """Return a parser with some of OPTIONS: those that are `required`, and those with the given `defaults`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in (*required, *defaults):
        kind, words = OPTIONS[name]
        made.add_argument(f"--{name}", type=kind, required=name in required, default=defaults.get(name), help=words)
    return made


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown.

    >>> print(table(["song", "s"], [["Greensleeves", 31.5]]))
    | song | s |
    |---|---|
    | Greensleeves | 31.5 |
    """
    first, *others = (f"| {' | '.join(map(str, row))} |" for row in (head, *rows))
    return "\n".join([first, "|---" * len(head) + "|", *others])


def in_processes(
    function: Callable[[Any], Any], jobs: Sequence[Any], noun: str, *, every: int = 100, **pool: Any
) -> Iterator[Any]:
    """Yield `function(job)` for each job, in order, and print the progress.

    `pool` are the options of ProcessPoolExecutor.
    """
    with ProcessPoolExecutor(**pool) as executor:
        for number, result in enumerate(executor.map(function, jobs, chunksize=4), 1):
            yield result
            if number % every == 0 or number == len(jobs):
                print(f"{number}/{len(jobs)} {noun}", file=sys.stderr, flush=True)


def run_jobs(function: Callable[[Any], float], jobs: Sequence[Any], processes: int | None) -> None:
    """Call the function, which returns the seconds of audio that it has processed, with each job."""
    seconds = sum(in_processes(function, jobs, "files", every=-(-len(jobs) // 60), max_workers=processes))
    print(f"{seconds / 3600:.1f} h", file=sys.stderr)
