"""The command line as people use it: real processes, a real folder, a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Forked, command

CAMPAIGN = """
name = "November news"
from = "Acme News <news@acme.example>"
subject = "{{ first_name }}, your November"
template = "letter"
recipients = "people.csv"
retry_schedule = ["0.2s"]
"""


@dataclass
class Done:
    """What one command left: exit code, what it printed, and what it printed beside."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The last line of a command that prints JSON lines."""
        return json.loads(self.out.strip().splitlines()[-1])


class Folder:
    """A sender's folder: a campaign of ``people`` with one template."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.people([f"person{n}@example.com,Person {n}" for n in range(1, 6)])
        self.write("campaign.toml", CAMPAIGN)
        self.write("templates/letter/body.txt", "Dear {{ first_name }},\n\nhello.\n")
        self.write("mailer.toml", "")

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def read(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def people(self, rows: list[str], header: str = "email,First Name") -> None:
        self.write("people.csv", "\n".join([header, *rows]) + "\n")

    def start(
        self, *arguments: str, stdin: bytes | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "mailer", *arguments],
            cwd=self.path,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def fork(self, work: Callable[..., None], *arguments: str, **environment: str) -> Forked:
        """Start what ``tests.forked`` knows; what it says beside is in ``err``."""
        out, err = self.write("out", ""), self.write("err", "")
        return Forked(
            work, *arguments, folder=self.path, environment=os.environ | environment, out=out, err=err
        )

    def mailer(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> Done:
        """Run a command to its end. A traceback is never right."""
        with tempfile.TemporaryDirectory() as beside:
            given, out, err = (Path(beside, name) for name in ("in", "out", "err"))
            given.write_bytes(stdin or b"")
            process = Forked(
                command,
                *arguments,
                folder=self.path,
                environment=os.environ | environment,
                stdin=given,
                out=out,
                err=err,
            )
            done = Done(process.wait(), out.read_text(), err.read_text())
        assert "Traceback" not in done.err, done.err
        return done

    def send(self, sink: Any, *arguments: str, **environment: str) -> Done:
        """``mailer send campaign.toml`` to this sink, without questions, as a program would."""
        return self.mailer(
            "send", "campaign.toml", "--yes", "--json", "--backend", sink.url, *arguments, **environment
        )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
