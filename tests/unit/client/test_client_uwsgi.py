"""What is said of how uWSGI was set up. Its module has these names in 2.0.24 and 2.0.31."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from mailer import Mailer


class Server(ModuleType):
    def __init__(self, worker: int, *options: str, threads: int = 1, processes: int = 1) -> None:
        super().__init__("uwsgi")
        self.opt = dict.fromkeys(options, True)
        self.has_threads = threads
        self.numproc = processes
        self.worker_id = lambda: worker


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server(1, "master", "lazy-apps"), []),
        (Server(1, "master", threads=0), ["enable-threads"]),
        (Server(0, "master"), ["py-call-uwsgi-fork-hooks"]),
        (Server(0, processes=2), ["py-call-uwsgi-fork-hooks"]),
        (Server(0, "master", threads=0), ["enable-threads", "py-call-uwsgi-fork-hooks"]),
        (Server(0, "master", "py-call-uwsgi-fork-hooks"), []),
        (Server(0), []),
        (ModuleType("uwsgi"), []),
    ],
)
def test_a_mailer_that_is_opened_says_what_uwsgi_should_be_told(site, monkeypatch, caplog, server, said):
    monkeypatch.setitem(sys.modules, "uwsgi", server)

    with Mailer(deliver="workers") as mailer:
        mailer.start()

    heard = [record.getMessage() for record in caplog.records if record.name == "mailer.submission.uwsgi"]
    assert len(heard) == len(said)
    assert all(option in words for option, words in zip(said, heard, strict=True))
