"""The command tree, and the one place where failures become exit codes."""

from __future__ import annotations

import errno
import sys

import click
import typer

from mailer.cli import campaigns, control, inspection, sending, servers, setup
from mailer.cli.output import complain
from mailer.errors import MailerError

app = typer.Typer(
    name="mailer",
    help="A recipient list plus a template becomes a campaign; afterwards you know exactly who got it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: In the order in which a newcomer meets them.
for group in (setup, campaigns, sending, control, inspection, servers):
    group.register(app)


def run() -> None:
    """Run one command and exit. A user's mistake never shows a traceback."""
    try:
        code = app(standalone_mode=False)
    except MailerError as error:
        complain(str(error))
        code = error.exit_code
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        code = 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        code = 0
    except OSError as error:
        complain(_system_says(error))
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _system_says(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk is full{f' ({error.filename})' if error.filename else ''}: make room and try again"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
