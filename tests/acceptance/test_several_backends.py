"""A campaign over a route: from mailer.toml to results."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter

import pytest

from mailer import Mailer
from tests.servers import free_port

PEOPLE = [f"person{n}@example.com,Person {n}" for n in range(1, 41)]


def settings(route: str, main: int, spare: int) -> str:
    return (
        f'[backends.main]\nurl = "smtp://127.0.0.1:{main}?tls=none"\nconnections = 2\n'
        f'[backends.spare]\nurl = "smtp://127.0.0.1:{spare}?tls=none"\nconnections = 2\n'
        f"[routes.both]\nbackends = {route}\n"
    )


def carried(folder):
    """Recipients by backend and the reason that is given."""
    told = folder.mailer("results", "campaign.toml")
    return Counter((row["mail_backend"], row["mail_reason"]) for row in csv.DictReader(io.StringIO(told.out)))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_when_the_first_backend_is_gone_the_next_carries_everything(folder, mailer_sink, processes):
    sink, nobody = mailer_sink(), free_port()
    folder.people(PEOPLE)
    folder.write("mailer.toml", settings('["main", "spare"]', nobody, sink.port))

    more = {"MAILER_PROCESSES": processes, "MAILER_LOG_FORMAT": "json"}
    done = folder.mailer("send", "campaign.toml", "--yes", "--backend", "both", **more)

    assert done.code == 0, done.err
    logged = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert {"warning", "mailer.delivery.sender"} <= {part for line in logged for part in line.values()}
    assert f"backend 'main': 127.0.0.1:{nobody} refuses connections" in done.err
    assert Counter(sink.recipients()) == {row.partition(",")[0]: 1 for row in PEOPLE}
    assert carried(folder) == {("spare", f"Not over main: 127.0.0.1:{nobody} refuses connections."): 40}


def test_when_nobody_answers_nothing_is_opened(folder):
    folder.write("mailer.toml", settings('["main", "spare"]', free_port(), free_port()))

    done = folder.mailer("send", "campaign.toml", "--yes", "--backend", "both")

    assert done.code == 2
    assert "Nothing was sent" in done.err
    assert "backend 'spare'" in done.err


def test_each_stream_leaves_by_its_backend(folder, monkeypatch):
    """Without one being named: two campaigns, and single messages of the same application."""
    folder.write(
        "mailer.toml",
        'backend = "news"\ntransactional_backend = "letters"\n'
        '[backends.news]\nurl = "file:news?format=eml"\n'
        '[backends.letters]\nurl = "file:letters?format=eml"\n',
    )
    folder.people(PEOPLE[:1])
    assert folder.mailer("send", "campaign.toml", "--yes").code == 0
    folder.write("templates/letter/mail.toml", 'stream = "transactional"\n')
    assert folder.mailer("send", "campaign.toml", "--yes", "--again").code == 0
    monkeypatch.chdir(folder.path)
    with Mailer() as mailer:
        for stream in ("bulk", "transactional"):
            mailer.send(
                to=f"{stream}@example.com", sender="a@acme.example", subject="Hi", text="x", stream=stream
            )

    for place, stream in (("news", "bulk"), ("letters", "transactional")):
        sent = [file.read_text() for file in (folder.path / place).glob("*.eml")]
        assert sum(f"To: {stream}@example.com" in text for text in sent) == 1
        assert len(sent) == 2


def test_weights_share_a_campaign(folder, mailer_sink):
    main, spare = mailer_sink(), mailer_sink()
    folder.people(PEOPLE)
    folder.write("mailer.toml", settings("{ main = 3, spare = 1 }", main.port, spare.port))

    done = folder.mailer("send", "campaign.toml", "--yes", "--backend", "both")

    assert done.code == 0, done.err
    shares = {"main": len(main.recipients()), "spare": len(spare.recipients())}
    assert {backend: n for (backend, _), n in carried(folder).items()} == shares
    assert shares["main"] > shares["spare"] > 0
