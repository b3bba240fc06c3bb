"""Keys of applications, over every kind of ledger."""

from __future__ import annotations

import pytest

from mailer.errors import AccessDenied, InputError
from mailer.outbox import access
from tests.ledgers import LEDGERS


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


def denied(book, text):
    with pytest.raises(AccessDenied) as error:
        access.authenticate(book.ledger, text)
    return str(error.value)


def test_a_key_lets_in_and_says_what_it_may(book):
    text = access.create(
        book.ledger, "shop", scopes=["send"], senders=["*@Acme.example", "boss@other.example"], rate="50/s"
    )

    key = access.authenticate(book.ledger, text)

    assert (key.id, key.name, key.rate) == (text.rpartition("_")[0], "shop", "50/s")
    assert key.may("send")
    assert not key.may("read")
    assert key.may_send_as("News@ACME.example")
    assert key.may_send_as("boss@other.example")
    assert not key.may_send_as("intern@other.example")
    assert not key.may_send_as("news@acme.example.evil.example")


def test_a_key_without_a_list_may_use_any_sender_and_admin_may_all(book):
    key = access.authenticate(book.ledger, access.create(book.ledger, scopes=["admin"]))

    assert key.may_send_as("any@where.example")
    assert all(key.may(scope) for scope in access.SCOPES)


def test_whoever_has_no_valid_key_learns_nothing_about_why(book):
    revoked = access.create(book.ledger)
    expired = access.create(book.ledger, lasts=60)
    wrong = f"{expired[:-1]}{'0' if expired[-1] != '0' else '1'}"

    assert book.ledger.keys.revoke(revoked.rpartition("_")[0])
    said = {denied(book, text) for text in (revoked, wrong, "mk_0123456789ab_" + "0" * 40, "", "key\0", "é")}
    access.authenticate(book.ledger, expired)
    book.clock.sleep(60)
    said.add(denied(book, expired))

    assert len(said) == 1
    assert not book.ledger.keys.revoke(revoked.rpartition("_")[0])
    assert not book.ledger.keys.revoke("mk_none")


def test_the_ledger_holds_no_secret_and_knows_when_a_key_was_used(book):
    text = access.create(book.ledger, "shop")
    (before,) = book.ledger.keys.list()
    access.authenticate(book.ledger, text)
    (after,) = book.ledger.keys.list()
    book.clock.sleep(access.USED_SECONDS + 1)
    access.authenticate(book.ledger, text)
    (later,) = book.ledger.keys.list()

    assert text.rpartition("_")[2] not in repr(after)
    assert (before.used_at, after.used_at, later.used_at) == (None, after.created_at, book.clock.now)


@pytest.mark.parametrize("wrong", [{"scopes": ["sned"]}, {"scopes": []}, {"senders": ["acme.example"]}])
def test_what_no_key_can_be_is_refused(book, wrong):
    with pytest.raises(InputError):
        access.create(book.ledger, **wrong)

    assert book.ledger.keys.list() == []
