"""What the sink has taken, on disk: one .eml file per message and one index line with its envelope."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

INDEX = "index.jsonl"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message as it was taken. ``data`` is what the client meant: CRLF, dots un-stuffed."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes = field(repr=False)
    mail_options: str = ""
    rcpt_options: tuple[str, ...] = ()
    connection: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Store:
    """A folder. Names sort in order of arrival, and go on where an earlier run ended."""

    def __init__(self, folder: Path) -> None:
        """Create the folder. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._number = max(
            (int(path.stem) for path in folder.glob("*.eml") if path.stem.isdigit()), default=0
        )
        self._index = os.fdopen(_private(folder / INDEX, os.O_APPEND), "a", encoding="utf-8")

    def add(self, taken: Taken) -> str:
        """Write the message, then its index line: a line in the index always has its file."""
        self._number += 1
        name = f"{self._number:08d}.eml"
        with os.fdopen(_private(self._folder / name, os.O_TRUNC), "wb") as file:
            file.write(taken.data)
        self._index.write(json.dumps({"file": name} | envelope(taken)) + "\n")
        self._index.flush()
        return name

    def close(self) -> None:
        self._index.close()


def envelope(taken: Taken) -> dict[str, object]:
    """Everything but the message itself."""
    return {
        "at": taken.at.isoformat(timespec="milliseconds"),
        "connection": taken.connection,
        "sender": taken.sender,
        "recipients": list(taken.recipients),
        "mail_options": taken.mail_options,
        "rcpt_options": list(taken.rcpt_options),
        "size": len(taken.data),
    }


def _private(path: Path, mode: int) -> int:
    """Messages hold addresses: nobody else may read them."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | mode, 0o600)
