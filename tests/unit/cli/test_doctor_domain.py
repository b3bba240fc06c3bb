"""What ``mailer doctor --domain`` says, with a name server and a provider on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dns.resolver
import pytest

from mailer.backends import urls
from mailer.cli.finding import OK, WARNING, WRONG, Finding
from mailer.cli.senders import sender_findings
from mailer.errors import InputError
from tests.contract.providers.fake import serving
from tests.contract.providers.registry import ROLES
from tests.names import Zone, name_server

SELECTORS = [f"selector{number}-azurecomm-prod-net._domainkey" for number in (1, 2)]
WHOLE: Zone = {
    (
        "acme.example.",
        "TXT",
    ): '"v=spf1 include:spf.protection.outlook.com include:_spf.netcorecloud.com -all"',
    ("_dmarc.acme.example.", "TXT"): '"v=DMARC1; p=none"',
    **{(f"{name}.acme.example.", "CNAME"): f"{name}.azurecomm.net." for name in SELECTORS},
}
EVERYBODY = ["SPF of acme.example", "DMARC of acme.example"]


@pytest.fixture
def asked(monkeypatch, stack) -> Iterator[Callable[..., list[Finding]]]:
    def ask(zone: Zone, *backends: str, domain: str = "acme.example") -> list[Finding]:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], stack.enter_context(name_server(zone))
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        configs = {f"b{number}": urls.parse(f"b{number}", url) for number, url in enumerate(backends)}
        return list(sender_findings(configs, domain))

    return ask


AZURE = "azure://a2V5MTIzNDU2@acme.communication.azure.com"
#: What is looked for in the DNS for each: over its API, and over SMTP.
WANTED = [
    (AZURE, ["SPF", "DKIM", "DKIM"]),
    ("smtp+azure://user:pass@", ["SPF", "DKIM", "DKIM"]),
    ("netcore://k1234567@", ["SPF"]),
    ("smtp+netcore://user:pass@", ["SPF"]),
    ("brevo://k1234567@", []),
    ("smtp://relay.example", []),
]


@pytest.mark.parametrize(("url", "wanted"), WANTED)
def test_what_a_provider_wants_in_the_dns_is_looked_for(asked, url, wanted):
    found = asked(WHOLE, url)

    assert [one.place for one in found] == [
        *EVERYBODY,
        *(f"{what} of acme.example for b0" for what in wanted),
    ]
    assert {one.state for one in found} == {OK}
    assert not any("verified" in one.text for one in found)  # that is the provider's to say


#: What is there instead, where of all places something is missing, and the words for it.
MISSING = [
    ({}, {"SPF": WRONG, "DMARC": WRONG, "SPF b0": WARNING, "DKIM b0": WARNING}, "no TXT record v=spf1 at"),
    (
        {**WHOLE, ("acme.example.", "TXT"): '"v=spf1 include:spf.protection.outlook.com ~all"'},
        {"SPF b0": WARNING},
        "without a TXT record at acme.example: v=spf1 include:spf.protection.outlook.com -all",
    ),
    (
        {**WHOLE, (f"{SELECTORS[1]}.acme.example.", "CNAME"): "elsewhere.example."},
        {"DKIM b0": WARNING},
        f"without a CNAME record at {SELECTORS[1]}.acme.example: {SELECTORS[1]}.azurecomm.net",
    ),
    (
        {**WHOLE, ("_dmarc.acme.example.", "SERVFAIL"): ""},
        {"DMARC": WARNING},
        "not known: NoNameservers",
    ),
]


@pytest.mark.parametrize(("zone", "states", "words"), MISSING)
def test_what_is_missing_is_said_with_what_to_publish(asked, zone, states, words):
    found = [one for one in asked(zone, AZURE) if one.state != OK]

    assert {
        one.place.replace(" of acme.example", "").replace("for ", ""): one.state for one in found
    } == states
    assert any(words in one.text for one in found)


def test_backends_are_asked_that_know_a_domain_by_name(asked):
    with serving(ROLES["postal"].play) as fake:
        url = ROLES["postal"].address(fake.base)
        allowed, *_ = asked(WHOLE, url, "netcore://k1234567@")
        refused, *_ = asked({}, url, domain="Other.Example")
        silent, *_ = asked(WHOLE, ROLES["postal"].address(fake.base, key="wrongkey01234567"))

    assert allowed == Finding("acme.example at b0", OK, "Postal sends from it")
    assert refused == Finding("other.example at b0", WARNING, "Postal refuses to send from it")
    assert silent.state == WARNING


def test_what_is_no_domain_is_refused_before_anybody_is_asked(asked):
    with pytest.raises(InputError, match="--domain acme example: "):
        asked({}, domain="acme example")
