"""``mailer send`` itself, killed with -9 again and again at random moments: checking, opening, sending."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

from tests.faults.judging import WHOLE
from tests.servers import PATIENCE

PEOPLE, KILLS = (1500, 20) if WHOLE else (600, 6)
CONNECTIONS = 10


def command(*arguments):
    return [sys.executable, "-m", "mailer", *arguments]


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
    send = command("send", "campaign.toml", "--yes", "--json", "--backend", sink.url)
    chance = random.Random(7)

    for _ in range(KILLS):
        with subprocess.Popen(
            send, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(chance.uniform(0.2, 4.0))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode != -signal.SIGKILL:
            break  # it was quicker, and everything is sent
    last = subprocess.run(send, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)

    finished = last.returncode in (0, 1) or "already sent" in last.stderr
    assert finished, last.stderr
    told = subprocess.run(
        command("results", "campaign.toml"), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    states = {row["email"]: row["mail_state"] for row in csv.DictReader(io.StringIO(told.stdout))}
    copies = Counter(sink.recipients())
    assert sorted(states) == sorted(people)
    assert set(states.values()) <= {"accepted", "unknown"}
    assert [address for address in people if copies[address] > 1] == []
    assert [a for a in people if states[a] == "accepted" and copies[a] != 1] == []
    assert Counter(states.values())["unknown"] <= CONNECTIONS * KILLS
    status = subprocess.run(
        command("status", "campaign.toml", "--json"), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(status.stdout)["state"] == "finished"
