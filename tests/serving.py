"""``mailer serve`` as a process of its own, and somebody who talks to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from mailer.ledger import open_ledger
from mailer.ledger.ledger import Ledger
from mailer.outbox import access
from tests.forked import Forked, command
from tests.servers import PATIENCE, wait_until
from tests.working import environment

_LISTENS = re.compile(r"(http://127\.0\.0\.1:\d+);")


class Served:
    """A server over the folder's ledger; ``get`` and ``post`` show a key that may do everything."""

    def __init__(self, folder: Path, ledger: Ledger, url: str, log: Path, pid: int) -> None:
        self.folder = folder
        self.ledger = ledger
        self.pid = pid
        self.url = url
        self.log = log
        # Left alone sooner than the server leaves it (5 s): to use it in that moment would be an error.
        limits = httpx.Limits(keepalive_expiry=1.0)
        self.client = httpx.Client(base_url=url, timeout=PATIENCE, limits=limits)
        self.key = self.new_key(scopes=("admin",))

    def new_key(self, **about: Any) -> str:
        return access.create(self.ledger, "test", **about)

    def get(self, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        return self.client.get(path, headers=self.headers(key), **more)

    def post(
        self, path: str, json: Any = None, *, key: str | None = None, headers: Any = None, **more: Any
    ) -> httpx.Response:
        return self.client.post(path, json=json, headers=self.headers(key) | (headers or {}), **more)

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {key or self.key}"}

    def messages(self, **wanted: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/v1/messages", params=wanted).json()["messages"]
        return found


@contextmanager
def serving(folder: Path, *options: str, work: Callable[..., None] = command) -> Iterator[Served]:
    """In this folder, with its ``mailer.toml``; its log is ``serve.log`` there."""
    ledger = open_ledger(f"sqlite:///{folder}/mailer.db")
    log = folder / "serve.log"
    log.write_text("")
    options = ("serve", "--port", "0", *options)
    process = Forked(work, *options, folder=folder, environment=environment(), out=log, err=log)
    try:
        wait_until(lambda: not process.running or _LISTENS.search(log.read_text()), "mailer serve")
        listens = _LISTENS.search(log.read_text())
        assert listens, log.read_text()
        served = Served(folder, ledger, listens[1], log, process.pid)
        with served.client:
            yield served
    finally:
        process.stop()
        ledger.close()
    assert process.code in (0, -15), log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()
