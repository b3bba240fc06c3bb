"""The command line: one file per group of commands.

Command modules import the rooms inside their functions, so ``mailer --help`` stays fast.
"""


def main() -> None:
    """Entry point of the ``mailer`` command; exits with the code that DESIGN fixes: 0, 1, 2 or 130."""
    from mailer.cli.app import run

    run()
