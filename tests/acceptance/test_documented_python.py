"""The Python of ``docs/how-to`` runs as it stands there, and does what it says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from mailer import Mailer
from mailer.ledger import open_ledger
from mailer.message import State
from mailer.testing import outbox
from tests.ledgers import postgres_database
from tests.servers import PATIENCE, wait_until
from tests.working import environment

ROOT = Path(__file__).resolve().parents[2]
RECEIPT = {
    "name": "Ada",
    "order_number": "7",
    "items": [],
    "total": "3.50",
    "currency": "EUR",
    "paid_with": "Visa",
    "order_url": "https://acme.example/orders/7",
}


class Order(BaseModel):
    number: int
    email: str = "ada@example.org"
    receipt: dict[str, Any] = RECEIPT


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


def blocks() -> dict[str, str]:
    """By document and first line."""
    found = {}
    for document in sorted((ROOT / "docs/how-to").glob("*.md")):
        for text in re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE):
            found[f"{document.stem}: {text.splitlines()[0]}"] = text
    return found


BLOCKS = blocks()
FIRST = "transactional: from mailer import Mailer"
SUPPRESSED = "invalid-rows: from mailer.ledger import open_ledger"
RESULTS = "results: import json"
DJANGO_AFTER = "transactional: # Django: what was rolled back is never called"
DJANGO_INSIDE = "transactional: # Django: a savepoint that is rolled back takes its messages along"
DJANGO_TEST = "transactional: from django.core import mail"
DJANGO_SETTING = 'transactional: EMAIL_BACKEND = "mailer.django.EmailBackend"'
FASTAPI_AFTER = (
    "transactional: # SQLAlchemy, in a route of FastAPI: behind the block, not reached by an error"
)
FASTAPI_INSIDE = "transactional: # SQLAlchemy, in a route of FastAPI"
FASTAPI_ASYNC = "transactional: # SQLAlchemy, between `async` functions"
PYTEST = "transactional: def test_signing_up_sends_a_welcome(mailer_outbox):"
ALL = {
    *(FIRST, SUPPRESSED, RESULTS, PYTEST, FASTAPI_AFTER, FASTAPI_INSIDE, FASTAPI_ASYNC),
    *(DJANGO_AFTER, DJANGO_INSIDE, DJANGO_TEST, DJANGO_SETTING),
}


def run(name: str, **given: Any) -> dict[str, Any]:
    exec(compile(BLOCKS[name], name, "exec", dont_inherit=True), given)
    return given


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """What ``mailer init`` writes, as far as an application needs it; messages end as files."""
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
    for name in ("receipt", "_layouts"):
        shutil.copytree(ROOT / "templates" / name, tmp_path / "templates" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shop(site):
    """The application's own database, with the ledger in it."""
    with postgres_database() as url:
        (site / "mailer.toml").write_text(f'ledger = "{url}"\n[backends.main]\nurl = "file:out"\n')
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
        Base.metadata.create_all(engine)
        with Mailer():  # makes the schema `mailer`
            pass
        yield engine
        engine.dispose()


def test_every_block_is_run_here():
    assert set(BLOCKS) == ALL


def test_the_first_message(site):
    shown = run(FIRST)

    wait_until(lambda: shown["mailer"].status(shown["receipt"].id).state is State.ACCEPTED, "its delivery")
    shown["mailer"].close()
    assert len(list((site / "out/new").iterdir())) == 1


def test_an_address_is_taken_off_the_suppressions(site):
    ledger = open_ledger("sqlite:///mailer.db")
    ledger.suppressions.add("ann@example.com")
    run(SUPPRESSED)

    assert ledger.suppressions.among(["ann@example.com"], "bulk") == set()
    ledger.close()


def test_a_campaign_run_by_a_program(site, monkeypatch, capsys):
    command = site / "mailer"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mailer "$@"\n')
    command.chmod(0o700)
    monkeypatch.setenv("PATH", str(site), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (site / "people.csv").write_text("email\nann@example.com\n")
    (site / "templates/hello.txt").write_text("Hello.\n")
    (site / "campaign.toml").write_text(
        'name = "n"\nfrom = "a@acme.example"\nsubject = "S"\n'
        'template = "hello.txt"\nrecipients = "people.csv"\n'
    )
    run(RESULTS)

    assert capsys.readouterr().out.endswith(" 1 of 1\n")


def test_a_test_of_an_application(site):
    def sign_up(address: str) -> None:
        Mailer().send(to=address, sender="shop@acme.example", subject="Welcome!", text="Good to have you.")

    with outbox() as box:
        run(PYTEST, sign_up=sign_up)["test_signing_up_sends_a_welcome"](box)


async def placed(app: FastAPI) -> dict[str, str]:
    """Raises what the route raised."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        return (await client.post("/orders", json={"number": 1})).json()


@pytest.mark.parametrize("name", [FASTAPI_AFTER, FASTAPI_INSIDE, FASTAPI_ASYNC])
def test_orders_by_fastapi(shop, name, site):
    engine: Engine | AsyncEngine = shop
    if name == FASTAPI_ASYNC:
        engine = create_async_engine(shop.url, poolclass=NullPool)
    app = FastAPI()
    with Mailer() as mailer:
        names = {"Session": Session, "AsyncSession": AsyncSession, "Order": Order, "OrderRow": OrderRow}
        run(name, app=app, engine=engine, mailer=mailer, **names)
        kept = asyncio.run(placed(app))["receipt"]
        with pytest.raises(IntegrityError):
            asyncio.run(placed(app))

        wait_until(lambda: mailer.status(kept).state is State.ACCEPTED, "its receipt")
    assert len(list((site / "out/new").iterdir())) == 1, "nothing for what was rolled back"


PREAMBLE = """
import sys, unittest, json, django
from django.conf import settings
from types import SimpleNamespace
exec(sys.argv[1])
settings.configure(EMAIL_BACKEND=EMAIL_BACKEND, DATABASES={"default": json.loads(sys.argv[2])})
django.setup()
from django.core import mail
from django.db import IntegrityError, connection
from mailer.django import shared_mailer

class Order(SimpleNamespace):
    email = "ada@example.org"
    receipt = json.loads(sys.argv[3])
    def save(self):
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (%s)", [self.number])

for number, block in enumerate(sys.argv[4:6]):
    exec(block)
    place(Order(number=number))
    try:
        place(Order(number=number))
    except IntegrityError:
        pass
    else:
        raise SystemExit("the number is taken")
assert mail.send_mail("Hello", "Text", "a@acme.example", ["ada@example.org"]) == 1
exec(sys.argv[6])
loaded = unittest.defaultTestLoader.loadTestsFromTestCase(SigningUp)
assert unittest.TextTestRunner().run(loaded).wasSuccessful()
shared_mailer().close()
"""


def test_orders_by_django(shop, site):
    about = shop.url
    place = {"HOST": about.host, "PORT": about.port, "NAME": about.database, "USER": about.username}
    database = json.dumps({"ENGINE": "django.db.backends.postgresql"} | place)
    shown = [BLOCKS[DJANGO_AFTER], BLOCKS[DJANGO_INSIDE], BLOCKS[DJANGO_TEST]]
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE, BLOCKS[DJANGO_SETTING], database, json.dumps(RECEIPT), *shown],
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr

    with Mailer():
        wait_until(lambda: len(list((site / "out/new").iterdir())) >= 3, "two receipts and a greeting")
    assert len(list((site / "out/new").iterdir())) == 3, "nothing for what was rolled back"
