"""Looking up domains, against a name server on loopback."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from mailer.campaigns.recipients import mx
from mailer.errors import InputError
from tests.names import name_server
from tests.servers import PATIENCE

ZONE = {
    ("mail.example.", "MX"): "10 mx.mail.example.",
    ("null.example.", "MX"): "0 .",
    ("four.example.", "A"): "192.0.2.1",
    ("six.example.", "AAAA"): "2001:db8::1",
    ("web.example.", "TXT"): '"nothing for mail"',
    ("broken.example.", "SERVFAIL"): "",
    ("silent.example.", "SILENCE"): "",
}


@pytest.fixture
def port() -> Iterator[int]:
    with name_server(ZONE) as port:
        yield port


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        ("mail.example", None),
        ("four.example", None),
        ("six.example", None),
        ("null.example", mx.NULL_MX),
        ("web.example", mx.NO_SERVER),
        ("gone.example", mx.NO_DOMAIN),
        ("broken.example", mx.NOT_KNOWN),
        ("silent.example", mx.NOT_KNOWN),
    ],
)
def test_what_stands_against_a_domain(port, domain, problem):
    patience = 0.4 if problem == mx.NOT_KNOWN else PATIENCE  # nobody is waited for where an answer comes
    found = mx.lookup([domain], nameservers=["127.0.0.1"], port=port, patience=patience)
    assert found == {domain: problem}


def test_many_domains_are_asked_once_each(port):
    domains = [f"d{number % 200}.example" for number in range(1000)] + ["mail.example"]
    found = mx.lookup(iter(domains), nameservers=["127.0.0.1"], port=port, patience=PATIENCE)

    assert len(found) == 201
    assert [domain for domain, problem in found.items() if problem is None] == ["mail.example"]


def test_nobody_answering_is_not_known():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        found = mx.lookup(
            ["mail.example"], nameservers=["127.0.0.1"], port=free.getsockname()[1], patience=0.4
        )

    assert found == {"mail.example": mx.NOT_KNOWN}
    assert str(mx.NOT_KNOWN) == "not known: its name servers did not answer"


def test_without_dnspython_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)

    with pytest.raises(InputError) as caught:
        mx.lookup(["example.com"])
    assert caught.value.hint == 'pip install "mailer-worker[dns]"'
