"""``mailer send`` itself, killed with -9 again and again at random moments: checking, opening, sending."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from tests.faults.judging import WHOLE
from tests.forked import Forked, command

PEOPLE, KILLS, LONGEST = (1500, 20, 4.0) if WHOLE else (600, 6, 2.0)
CONNECTIONS = 10


class Command(Forked):
    """``mailer`` in this folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out, err = folder / "out", folder / "err"
        self.out.unlink(missing_ok=True)
        super().__init__(command, *arguments, folder=folder, environment=os.environ, out=self.out, err=err)

    def result(self) -> str:
        """What it printed; it must succeed."""
        assert self.wait() == 0, self.log.read_text()
        return self.out.read_text()


def test_kills_lose_nobody_and_write_to_nobody_twice(tmp_path, mailer_sink):
    sink = mailer_sink(latency="30ms")
    people = [f"person{n}@example.com" for n in range(PEOPLE)]
    (tmp_path / "people.csv").write_text("email\n" + "\n".join(people) + "\n")
    (tmp_path / "templates" / "letter").mkdir(parents=True)
    (tmp_path / "templates" / "letter" / "body.txt").write_text("Dear {{ email }}.\n")
    (tmp_path / "campaign.toml").write_text(
        'name = "News"\nfrom = "a@acme.example"\nsubject = "News"\n'
        'template = "letter"\nrecipients = "people.csv"\n'
    )
    send = ("send", "campaign.toml", "--yes", "--json", "--backend", sink.url)
    chance = random.Random(7)

    for _ in range(KILLS):
        process = Command(tmp_path, *send)
        time.sleep(chance.uniform(0.05, LONGEST))
        process.kill()
        if process.code != -signal.SIGKILL:
            break  # it was quicker, and everything is sent
    last = Command(tmp_path, *send)

    finished = last.wait() in (0, 1) or "already sent" in last.log.read_text()
    assert finished, last.log.read_text()
    told = Command(tmp_path, "results", "campaign.toml").result()
    states = {row["email"]: row["mail_state"] for row in csv.DictReader(io.StringIO(told))}
    copies = Counter(sink.recipients())
    assert sorted(states) == sorted(people)
    assert set(states.values()) <= {"accepted", "unknown"}
    assert [address for address in people if copies[address] > 1] == []
    assert [a for a in people if states[a] == "accepted" and copies[a] != 1] == []
    assert Counter(states.values())["unknown"] <= CONNECTIONS * KILLS
    status = Command(tmp_path, "status", "campaign.toml", "--json").result()
    assert json.loads(status)["state"] == "finished"
