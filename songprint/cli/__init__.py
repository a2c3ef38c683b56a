"""The command line: `songprint COMMAND`. Each command is one call into the library and prints what it gives.

Results go to stdout, everything else to stderr. Exit status: 0 done or found, 1 no match, 2 error.
"""

from songprint.cli import following, scanning, serve, service, unknown  # noqa: F401 - they add their commands to `main`
from songprint.cli.commands import main

__all__ = ["main"]
