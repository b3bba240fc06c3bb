"""The command line: one file per group of commands.

Command modules import the rooms inside their functions, so ``mailer --help`` stays fast.
"""

import sys


def main() -> None:
    """Entry point of the ``mailer`` command; exits with the code that DESIGN fixes: 0, 1, 2 or 130."""
    try:
        from mailer.cli.app import run

        run()
    except KeyboardInterrupt:  # while the program itself was being loaded
        sys.stderr.write("mailer: interrupted\n")
        sys.exit(130)
