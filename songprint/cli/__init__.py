"""The command line: `songprint COMMAND`. Each command calls the library and prints the result.

Results go to stdout, everything else to stderr. Exit status: 0 success, 1 no match, 2 error, 130 interrupted.
"""

# These modules register their commands.
from songprint.cli import duplicates, exporting, following, metadata, moving, scanning, service, unknown  # noqa: F401
from songprint.cli.commands import main

__all__ = ["main"]
