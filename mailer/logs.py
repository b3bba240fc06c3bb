"""Logs for people or for programs; addresses and logins never reach either."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

#: What looks like an address, and the login in a URL. Servers quote both in what they answer.
_ADDRESS = re.compile(r"[^\s<>\"'(),;:=]+@[^\s<>\"'(),;:]+")
_LOGIN = re.compile(r"(\w+://)[^\s/@]*@")
#: "campaign 7: paused": what a line is about stands in front.
_ABOUT = re.compile(r"^(campaign|message) (\d+): ")
#: They write down URLs and header fields, and some of those are keys.
_TALKATIVE = ("httpx", "httpcore", "hpack")
_KEYS = re.compile(r"\b(Bearer|Basic|PLAIN|LOGIN)\s+[A-Za-z0-9+/=._-]{8,}")


def redacted(text: str, own: str | None = None) -> str:
    """Without addresses, logins and keys. ``own`` looks like an address, and is the name of a worker."""
    text = _LOGIN.sub(r"\1", text)
    text = _ADDRESS.sub(lambda found: found[0] if found[0].rstrip(".") == own else "<address>", text)
    return _KEYS.sub(r"\1 ***", text)


class Plain(logging.Formatter):
    """One line as people read it."""

    def __init__(self, own: str | None = None) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._own = own

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record), self._own)


class Json(logging.Formatter):
    """One JSON object per line: time, level, process, logger, action, and campaign or message where there
    is one."""

    def __init__(self, own: str | None = None) -> None:
        super().__init__()
        self._own = own

    def format(self, record: logging.LogRecord) -> str:
        text = redacted(record.getMessage(), self._own)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "action": text,
        }
        if about := _ABOUT.match(text):
            line[about[1]] = about[2]
            line["action"] = text[about.end() :]
        if record.exc_info:
            line["error"] = redacted(self.formatException(record.exc_info), self._own)
        return json.dumps(line, ensure_ascii=False)


def set_up(kind: str, level: str, own: str | None = None) -> None:
    """Everything that is logged in this process goes to standard error in this form, and nowhere else.
    ``own`` is the worker's name, ``bulk@host``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(own) if kind == "json" else Plain(own))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
