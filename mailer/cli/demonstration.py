"""``mailer demo``: the whole way, with faults, and nothing leaves this machine."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.campaigns import control
from mailer.campaigns import demo as sample
from mailer.campaigns.loading import load
from mailer.campaigns.opening import open_campaign
from mailer.campaigns.preflight import check
from mailer.campaigns.prepared import prepare
from mailer.campaigns.results import export, reasons
from mailer.cli.output import say, span
from mailer.cli.progress import describe, progress
from mailer.cli.reports import show_reasons, show_report, show_status
from mailer.delivery import loop
from mailer.delivery.runner import run_embedded
from mailer.errors import InputError
from mailer.ledger import open_ledger
from mailer.ledger.contract import Campaign
from mailer.settings import Settings
from mailer.wiring import backend_configs

#: What the test server does to us: greylisting, unknown mailboxes, and connections that break.
RULES = """
[sink]
port = 0
seed = "demo"

[[rule]]                      # refused at first, fine a second later
at = "rcpt"
share = 0.04
reply = "451 4.3.0 Something is wrong here, please come back in a moment"
times = 1

[[rule]]                      # nobody lives here
at = "rcpt"
share = 0.01
reply = "550 5.1.1 No such mailbox"

[[rule]]                      # the line goes dead before the message is complete
share = 0.003
drop = "before-dot"
times = 1

[[rule]]                      # the message arrives, and the answer is lost
share = 0.002
drop = "after-dot"
times = 1
"""
#: A file that only a demo writes.
MARK = ".mailer-demo"
#: In which languages a message is kept to look at.
SAMPLES = ("en", "de", "es")


def demo(
    folder: Annotated[
        Path,
        typer.Option("--dir", help="Where campaign, results and sample messages go; replaced each time."),
    ] = Path("mailer-demo"),
    count: Annotated[int, typer.Option("--count", min=10, max=1_000_000, help="How many recipients.")] = 1200,
) -> None:
    """Send a sample campaign to a misbehaving test server, end to end.

    The server refuses some recipients, greylists others and breaks connections. Nothing leaves this machine.

    Example: mailer demo
    """
    _fresh(folder)
    file = sample.write_demo(folder, count)
    say(f"1. A campaign: {file}, {count:,} recipients in thirteen languages, and some rows with mistakes\n")
    ledger_url = f"sqlite:///{(folder / 'mailer.db').absolute()}"
    with _sink(folder) as port:
        backend = f"smtp://127.0.0.1:{port}?tls=none"
        campaign = _open(file, ledger_url, backend)
        say(f"\n3. Sending through a server that misbehaves, on port {port} of this machine\n")
        seconds = _send(campaign, ledger_url, backend)
    _conclude(folder, ledger_url, campaign, seconds)


def _fresh(folder: Path) -> None:
    """Only what an earlier demo made is removed. Raises InputError for a folder with anything else."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARK).is_file():
            raise InputError(
                f"{folder} holds other things", hint="Give another folder: mailer demo --dir DIR"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Made by `mailer demo`, which replaces this whole folder.\n", encoding="utf-8")


@contextmanager
def _sink(folder: Path) -> Iterator[int]:
    """The test server, in a process of its own as a real one would be."""
    rules = folder / "sink.toml"
    rules.write_text(RULES, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mailer",
        "sink",
        str(rules),
        "--store",
        str(folder / "arrived"),
        "--json",
    ]
    # Into a file: nobody reads while the campaign runs, and a full pipe would stop the server.
    with _private(folder / "sink.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log)  # noqa: S603 - our own command line
    try:
        yield _port(folder / "sink.log", server)
    finally:
        server.terminate()
        server.wait()


def _port(log: Path, server: subprocess.Popen[bytes]) -> int:
    """The first thing it says is where it listens."""
    while server.poll() is None:
        line, end, _ = log.read_text(encoding="utf-8").partition("\n")
        if end:
            return int(json.loads(line)["port"])
        time.sleep(0.02)
    raise OSError("the test server did not start")


def _open(file: Path, ledger_url: str, backend: str) -> Campaign:
    say("2. Checking every row before anything is sent\n")
    spec = load(file, {})
    ledger = open_ledger(ledger_url)
    try:
        with prepare(spec, template_root=file.parent / "templates", files_root=file.parent) as prepared:
            with progress("checking") as show:
                report = check(prepared, on_progress=lambda rows: show(rows, 0, ""), keep_rows=True)
            show_report(report)
            try:
                return open_campaign(ledger, prepared, report, backend=backend)
            finally:
                report.close()
    finally:
        ledger.close()


def _send(campaign: Campaign, ledger_url: str, backend: str) -> float:
    with progress("sending") as show:

        def report(counts: Any, rate: float) -> None:
            done, text = describe(counts, rate)
            show(done, campaign.total, text)

        result = loop.run(
            run_embedded(
                ledger_url,
                campaign.id,
                backends=backend_configs(Settings.model_validate({}), backend),
                wait=30.0,
                on_progress=report,
            )
        )
    return result.seconds


def _conclude(folder: Path, ledger_url: str, campaign: Campaign, seconds: float) -> None:
    ledger = open_ledger(ledger_url)
    try:
        campaign = ledger.campaigns.by_id(campaign.id)
        show_status(control.status(ledger, campaign))
        show_reasons(reasons(ledger, campaign))
        export(ledger, campaign, folder / "results.csv")
    finally:
        ledger.close()
    say(f"\n4. Done in {span(seconds)}. Who got it, and who did not, and why:")
    say(f"   {folder / 'results.csv'}")
    if (folder / "campaign.invalid.csv").exists():
        say(f"   {folder / 'campaign.invalid.csv'}  (rows with mistakes, to correct and `mailer add`)")
    say("   Three of the messages, for your mail program:")
    for name in _samples(folder):
        say(f"   {name}")
    say(f"\nAll that arrived lies in {folder / 'arrived'}. Next: mailer init my-news")


def _samples(folder: Path) -> Iterator[Path]:
    """One message per language out of what arrived."""
    kept = folder / "samples"
    kept.mkdir(exist_ok=True)
    with (folder / "recipients.csv").open(encoding="utf-8", newline="") as file:
        languages = {row["Email"]: row["Language"] for row in csv.DictReader(file)}
    wanted = list(SAMPLES)
    for line in (folder / "arrived" / "index.jsonl").read_text(encoding="utf-8").splitlines():
        arrived = json.loads(line)
        language = languages.get(arrived["recipients"][0])
        if language in wanted:
            wanted.remove(language)
            sample = _private(kept / f"newsletter.{language}.eml")
            yield Path(shutil.copyfile(folder / "arrived" / arrived["file"], sample))


def _private(file: Path) -> Path:
    """It holds addresses."""
    file.touch(mode=0o600)
    return file
