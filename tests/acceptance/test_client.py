"""Applications hand over messages: with a real broker that fails, real workers, and applications that die."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from mailer import Mailer, publisher
from mailer.message import State
from mailer.publisher import PREFIX
from tests.servers import PATIENCE, wait_until
from tests.working import environment, worker, write_settings

MESSAGE = {"sender": "Acme <a@acme.example>", "subject": "Hello", "text": "How are you?"}


@pytest.fixture
def site(tmp_path, monkeypatch, redis_server, smtp_sink):
    """A folder with settings for workers, a broker and a server that takes everything."""
    sink = smtp_sink()
    write_settings(tmp_path, broker=redis_server.url, backend=sink.url)
    monkeypatch.chdir(tmp_path)
    return sink


def python(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def recipients(sink) -> list[str]:
    return sorted(recipient for message in sink.messages() for recipient in message.recipients)


def test_workers_deliver_what_an_application_hands_over(site, tmp_path):
    with worker(tmp_path), Mailer() as mailer:
        receipt = mailer.send(to="ada@example.org", **MESSAGE)
        wait_until(lambda: mailer.status(receipt.id).state is State.ACCEPTED, "the message")

    assert recipients(site) == ["ada@example.org"]


def test_a_hint_goes_to_the_queue_of_transactional_mail(site, redis_server):
    with Mailer() as mailer, Redis(port=redis_server.port) as redis:
        mailer.send(to="ada@example.org", **MESSAGE)
        wait_until(lambda: redis.llen(f"{PREFIX}transactional") == 1, "the hint")
        (hint,) = redis.lrange(f"{PREFIX}transactional", 0, -1)

    (ids,) = json.loads(base64.b64decode(json.loads(hint)["body"]))[0]
    assert len(ids) == 1
    assert b"example.org" not in base64.b64decode(json.loads(hint)["body"])


def test_nobody_waits_for_a_broker_that_hangs_or_is_gone(site, tmp_path, redis_server):
    """One attempt to publish takes longer than a call; the machine may hold up one or two."""
    with Mailer() as mailer:
        mailer.send(to="warm-up@example.org", **MESSAGE)
        redis_server.process.pause()
        took = []
        for number in range(10):
            started = time.monotonic()
            mailer.send(to=f"hanging{number}@example.org", **MESSAGE)
            took.append(time.monotonic() - started)
        redis_server.process.kill()
        started = time.monotonic()
        receipt = mailer.send(to="gone@example.org", **MESSAGE)
        took.append(time.monotonic() - started)
        assert sorted(took)[len(took) // 2] < publisher.PATIENCE

        redis_server.start()  # and it has forgotten every hint
        with worker(tmp_path):
            wait_until(lambda: mailer.status(receipt.id).state is State.ACCEPTED, "the pump")
            wait_until(lambda: site.count() == 12, "all of them")


def test_an_application_may_die_as_soon_as_it_has_its_receipt(site, tmp_path):
    script = f"""
import os, signal
from mailer import Mailer
print(Mailer().send(to="ada@example.org", **{MESSAGE!r}).id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = python(tmp_path, script)
    assert done.returncode == -signal.SIGKILL

    with worker(tmp_path), Mailer() as mailer:
        id_ = done.stdout.strip()
        wait_until(lambda: mailer.status(id_).state is State.ACCEPTED, "what the dead left behind")
    assert recipients(site) == ["ada@example.org"]


def test_it_brings_nothing_along_into_an_application_of_its_own_habits(site, tmp_path):
    """Which has a module named tasks, a Celery app, and shared tasks bound to that."""
    (tmp_path / "tasks.py").write_text(
        "from celery import Celery, shared_task\n"
        "app = Celery('shop', broker='memory://')\n"
        "app.set_default()\n"
        "@shared_task\n"
        "def restock(): ...\n"
    )
    script = f"""
import sys
import mailer
assert not {{"celery", "sqlalchemy", "jinja2", "redis", "pydantic"}} & sys.modules.keys(), sys.modules.keys()
from mailer import Mailer
assert not {{"celery", "tasks"}} & sys.modules.keys()
import tasks
from celery import current_app
with Mailer() as own:
    receipt = own.send(to="ada@example.org", **{MESSAGE!r})
assert current_app.main == "shop", current_app.main
assert tasks.restock.app is tasks.app
assert tasks.__file__.endswith("tasks.py"), tasks.__file__
assert not any(name.startswith("tasks.") for name in sys.modules)
assert "mailer.deliver" not in tasks.app.tasks
"""
    done = python(tmp_path, script)

    assert done.stderr == ""
    assert done.returncode == 0


def test_without_a_broker_a_restarted_application_delivers_what_is_left(tmp_path, smtp_sink, monkeypatch):
    sink = smtp_sink()
    (tmp_path / "mailer.toml").write_text(f'[backends.main]\nurl = "{sink.url}"\n')
    monkeypatch.chdir(tmp_path)
    script = f"""
import os, signal
from mailer import Mailer
mailer = Mailer(deliver="workers")  # which are not there
for number in range(5):
    mailer.send(to=f"user{{number}}@example.org", **{MESSAGE!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(tmp_path, script).returncode == -signal.SIGKILL

    with Mailer() as mailer:
        mailer.send(to="user5@example.org", **MESSAGE)
        wait_until(lambda: sink.count() == 6, "the rest")
    assert recipients(sink) == [f"user{number}@example.org" for number in range(6)]
