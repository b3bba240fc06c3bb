"""A campaign steered from another terminal while it is sent."""

from __future__ import annotations

import csv
import io
import json
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from mailer.delivery.breaker import LONGEST_REST, Breaker
from mailer.delivery.circuits import Circuits
from mailer.delivery.limits.ledger import LedgerStore
from mailer.ledger.contract import Settlement
from mailer.message import State
from tests.delivering import World
from tests.servers import PATIENCE

SETTINGS = """
[backends.one]
url = "file:one?format=eml"
[backends.two]
url = "file:two?format=eml"
"""


def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sent(folder, backend: str) -> int:
    return len(list((folder.path / backend).glob("*.eml")))


@pytest.mark.slow
def test_changed_killed_corrected_followed_up_and_pruned(folder):
    folder.write("mailer.toml", SETTINGS)
    folder.people([f"person{n}@example.com,Person {n}" for n in range(1, 151)])
    first = folder.start("send", "campaign.toml", "--yes", "--backend", "one", "--rate", "3/s")
    until(lambda: sent(folder, "one") > 2)

    folder.mailer("set", "campaign.toml", "--backend", "two", "--rate", "2/s")
    until(lambda: sent(folder, "two") > 2)
    before = sent(folder, "one")
    folder.mailer("backends", "pause", "two", "--reason", "asked to")
    assert "paused" in folder.mailer("backends", "list").out
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert "interrupted: go on with `mailer resume" in folder.mailer("status", "campaign.toml").out

    folder.mailer("backends", "resume", "two")
    folder.mailer("set", "campaign.toml", "--no-rate")
    # What the dead process held is taken back, so nothing is in flight.
    assert "paused; 0 messages in flight" in folder.mailer("pause", "campaign.toml", "--wait").out
    folder.write("templates/letter/body.txt", "Dear {{ first_name }},\n\ncorrected.\n")
    updated = folder.mailer("update", "campaign.toml")
    assert "version 2 for" in updated.out, updated.err
    done = folder.mailer("send", "campaign.toml", "--yes", "--json", "--backend", "two")

    slug = done.json()["id"]
    assert done.json()["counts"]["accepted"] + done.json()["counts"]["unknown"] == 150
    assert sent(folder, "one") == before
    rows = list(csv.DictReader(io.StringIO(folder.mailer("results", slug).out)))
    versions = Counter(row["mail_version"] for row in rows)
    corrected = sum("corrected." in file.read_text() for file in (folder.path / "two").glob("*.eml"))
    assert versions["2"] == corrected > 0

    again = folder.mailer(
        "send", "campaign.toml", "--yes", "--json", "--backend", "two", "--name", "Reminder",
        "--to", f"campaign:{slug}?state=accepted", "--where", "first_name != 'Person 1'",
    )  # fmt: skip
    assert again.json()["counts"]["accepted"] == done.json()["counts"]["accepted"] - 1, again.err

    assert folder.mailer("prune", "--campaign", slug, "--yes").code == 0
    assert folder.mailer("status", slug, "--json").json()["counts"] == done.json()["counts"]
    assert "were removed by `mailer prune`" in folder.mailer("results", slug).err


def test_a_start_at_a_time_and_one_that_cannot_be(folder, mailer_sink):
    sink = mailer_sink()
    waiting = folder.start(
        "send", "campaign.toml", "--yes", "--backend", sink.url, "--at", "2126-12-01 09:00 Europe/Berlin"
    )
    until(lambda: "scheduled (starts 2126-12-01" in folder.mailer("status", "campaign.toml").out)
    assert sink.count() == 0

    folder.mailer("set", "campaign.toml", "--at", "now")

    _, told = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, sink.count()) == (0, 5)
    assert "this command waits for that" in told.decode()
    twice = folder.send(sink, "--again", "--at", "2026-10-25 02:30 Europe/Berlin")
    assert (twice.code, "comes twice in Europe/Berlin" in twice.err) == (2, True)
    past = folder.send(sink, "--again", "--at", "2020-01-01T00:00Z")
    assert (past.code, "has passed" in past.err) == (2, True)


def test_what_is_pruned_is_said_and_can_be_forgotten_later(folder):
    folder.write("mailer.toml", SETTINGS)
    slug = folder.mailer("send", "campaign.toml", "--yes", "--json", "--backend", "one").json()["id"]
    begun = folder.mailer(
        "send", "campaign.toml", "--yes", "--json", "--backend", "one", "--again", "--limit", "1"
    ).json()["id"]

    refused = folder.mailer("prune", "--campaign", begun, "--yes")
    assert (refused.code, "`mailer cancel" in refused.err) == (2, True)

    pruned = folder.mailer("prune", "--campaign", slug, "--yes")
    assert "removed: 5 recipients of 1 campaign" in pruned.out
    assert "mailer.db VACUUM" in pruned.err
    assert folder.mailer("prune", "--campaign", slug, "--yes").out.strip() == "nothing to remove"

    assert "removed: 0 recipients of 1 campaign" in folder.mailer(
        "prune", "--campaign", slug, "--forget", "--yes"
    ).out  # fmt: skip
    assert "no campaign" in folder.mailer("status", slug).err


async def test_a_campaign_over_a_route_is_one_with_each_of_its_backends(folder):
    folder.write("mailer.toml", SETTINGS + '[routes.both]\nbackends = ["one", "two"]\n')
    world = World(folder.path)
    world.campaign(1, backend="both")
    world.campaign(1, backend="two")
    await world.close()

    assert "1 campaign with it" in folder.mailer("backends", "pause", "one").out
    assert "2 campaigns with it" in folder.mailer("backends", "pause", "two").out


async def test_a_backend_that_is_out_of_order_is_listed_as_such(folder):
    folder.write("mailer.toml", SETTINGS + '[routes.both]\nbackends = ["one", "two"]\n')
    world, breaker = World(folder.path), Breaker()
    world.campaign(1, backend="both")
    circuits = Circuits(LedgerStore(world.writer), name="a worker")
    circuits.add("one", breaker)
    began = time.time()
    breaker.stopped(began, "the login was refused")  # that rests for minutes
    await circuits.look()
    await world.close()

    told = {
        one["name"]: one
        for one in map(json.loads, folder.mailer("backends", "list", "--json").out.splitlines())
    }
    folder.mailer("backends", "pause", "one", "--reason", "asked to")
    table = folder.mailer("backends", "list").out.splitlines()

    one = told["one"]
    assert (one["circuit"], one["circuit_reason"]) == ("open", "the login was refused")
    # To the millisecond: what compares two clocks rounds.
    assert began - 0.01 <= one["circuit_since"] < one["circuit_until"]
    assert one["circuit_until"] == pytest.approx(began + LONGEST_REST, abs=PATIENCE)
    assert (told["two"]["circuit"], told["two"]["circuit_since"], told["both"]["circuit"]) == (
        "closed",
        None,
        None,
    )
    (row,) = (line for line in table if line.startswith("one "))
    assert "paused since" in row
    assert "open since" in row
    assert row.endswith("asked to; the login was refused")


async def test_what_workers_carry_needs_no_resume(folder):
    world = World(folder.path)
    campaign = world.campaign(2)
    claimed = world.ledger.slices.claim(world.ids(campaign, 2), "anna", 60.0)
    world.ledger.slices.settle([Settlement(row.id, claimed.fence, State.FAILED) for row in claimed.rows])
    await world.close()

    told = folder.mailer("retry", campaign.slug)

    assert told.out.strip() == f"{campaign.slug}: 2 recipients will be tried again; the workers go on with it"

    folder.mailer("cancel", campaign.slug, "--yes")
    refused = folder.mailer("set", campaign.slug, "--rate", "1/s")
    assert (refused.code, "is cancelled" in refused.err) == (2, True)


def test_suppressions_go_in_and_out(folder, mailer_sink):
    folder.write("old.csv", "Email,reason\nPerson1@example.com,left\nperson2@example.com,\n")
    assert folder.mailer("suppressions", "import", "old.csv").out.startswith("2 addresses added")
    folder.mailer("suppressions", "add", "person3@example.com", "--stream", "transactional")
    folder.mailer("suppressions", "remove", "person2@example.com")
    missing = folder.mailer("suppressions", "remove", "person3@example.com")
    assert (missing.code, "give --stream" in missing.err) == (2, True)

    sent = folder.send(mailer_sink())

    assert sent.json()["counts"]["suppressed"] == 1
    exported = list(csv.DictReader(io.StringIO(folder.mailer("suppressions", "export").out)))
    assert [(row["address"], row["stream"], row["reason"]) for row in exported] == [
        ("person1@example.com", "*", "left"),
        ("person3@example.com", "transactional", "added by a person"),
    ]
