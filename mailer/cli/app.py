"""The command tree, and the one place where failures become exit codes."""

from __future__ import annotations

import errno
import importlib
import inspect
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from mailer.cli.output import complain
from mailer.errors import MailerError

#: Command -> module of this package and what it does, in the order in which a newcomer meets them. Only
#: the module of the command that runs is imported.
COMMANDS = {
    "init": ("setup", "Write a working example campaign to start from."),
    "demo": ("demonstration", "Send a sample campaign to a misbehaving test server, end to end."),
    "check": ("checking", "Parse and render every row; say what is odd; send nothing."),
    "preview": ("previewing", "Show one message as it would be sent."),
    "test": ("previewing", "Send one rendered row to an address of your own."),
    "send": ("sending", "Send a campaign from here to the end."),
    "enqueue": ("sending", "Hand a campaign to the workers."),
    "status": ("inspection", "Show how far campaigns are."),
    "pause": ("control", "Stop a campaign; only what is in flight finishes."),
    "resume": ("sending", "Go on with a campaign that was paused or interrupted."),
    "set": ("changing", "Change how a campaign is sent, also while it runs."),
    "update": ("changing", "Correct the template or subject of a paused campaign for those who wait."),
    "cancel": ("control", "Give up what a campaign has not sent yet."),
    "retry": ("control", "Try rows again that failed, were refused or are unknown."),
    "add": ("control", "Add recipients to a campaign, such as corrected rows."),
    "results": ("inspection", "Export the recipients with what became of each."),
    "find": ("inspection", "Show everything that was sent to one address."),
    "backends": ("standstill", "List backends; stop and start using them."),
    "suppressions": ("suppressing", "Addresses that must not be mailed."),
    "keys": ("keys", "Keys of applications: make, list and revoke them."),
    "worker": ("servers", "Run Celery workers that deliver what was enqueued."),
    "serve": ("serving", "Run the HTTP API."),
    "gateway": ("gateway", "Take mail over SMTP from applications that can speak nothing else."),
    "sink": ("servers", "Run a mail server for tests that can be told to misbehave."),
    "prune": ("pruning", "Remove the recipients of campaigns that are over."),
    "migrate": ("setup", "Bring the ledger to this version's schema."),
    "doctor": ("doctor", "Try everything a send needs; say what is wrong."),
}


class Commands(TyperGroup):
    """typer leaves without a word when it is interrupted."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(130) from None


def build(wanted: str | None = None) -> typer.Typer:
    """The command tree; of the commands only ``wanted`` is more than its line in the overview."""
    app = typer.Typer(
        name="mailer",
        cls=Commands,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=wanted is None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_mailer)
    for name, (module, purpose) in COMMANDS.items():
        if name == wanted:
            found = getattr(importlib.import_module(f"mailer.cli.{module}"), name)
            if isinstance(found, typer.Typer):
                app.add_typer(found, name=name, help=inspect.cleandoc(found.info.help or ""))
            else:
                app.command(name)(found)
        else:
            app.command(name, help=purpose)(_elsewhere)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from mailer import __version__

        print(f"mailer {__version__}")
        raise typer.Exit


def _mailer(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and leave."),
    ] = False,
) -> None:
    """A recipient list plus a template becomes a campaign; afterwards you know exactly who got it."""


def _elsewhere() -> None:
    """A command that this run only lists."""


def run() -> None:
    """Run one command and exit. A user's mistake never shows a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)  # commands that end in good order take these over
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is after nohup
        signal.signal(signal.SIGHUP, _interrupt)
    wanted = next((word for word in sys.argv[1:] if word in COMMANDS), None)
    sys.exit(_exit_code(build(wanted)))


def _interrupt(number: int, frame: object) -> None:
    """As Ctrl-C, so that files and processes of ours go when somebody ends us."""
    raise KeyboardInterrupt


def _exit_code(app: typer.Typer) -> int:
    try:
        code = app(standalone_mode=False)
    except MailerError as error:
        complain(str(error))
        return error.exit_code
    except typer.Exit as leave:
        return leave.exit_code
    except TyperException as error:
        text = error.format_message()
        if text.startswith("Usage:"):  # no command at all
            print(text, file=sys.stderr)
        else:
            complain(f"{text}\nTry 'mailer --help', or '--help' behind a command.")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return 0
    except OSError as error:
        complain(_system_says(error))
        return 2
    return code if isinstance(code, int) else 0


def _system_says(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; make room and do the same again"
    return f"{where}{error.strerror or error}"
