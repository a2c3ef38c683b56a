"""The command line: `songprint COMMAND`. Each command calls the library and prints the result.

Results go to stdout, everything else to stderr. Exit status: 0 success, 1 no match, 2 error, 130 interrupted.
"""

# These modules register their commands.
from songprint.cli import (  # noqa: F401
    duplicates,
    exporting,
    following,
    metadata,
    moving,
    scanning,
    service,
    stations,
    unknown,
)
from songprint.cli.commands import main

__all__ = ["main"]
