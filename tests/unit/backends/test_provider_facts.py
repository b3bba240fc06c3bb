"""The numbers of each provider, written down a second time: a slip of a finger there is seen here."""

from dataclasses import fields, replace
from importlib import import_module

import pytest

from mailer.backends import BACKENDS, connect, default_rates, urls
from mailer.backends.provider import Facts, Features, Letter
from tests.contract.providers.letters import letter
from tests.contract.providers.registry import ROLES

MB, DAY = 1_000_000, 86_400.0
#: Messages per request, octets of a request, octets of a message, recipients of one, requests in a time,
#: seconds that a key is remembered, and the header that says when to try again.
FACTS = {
    "postmark": (500, 50 * MB, 10 * MB, 50, (), 0, None),
    "resend": (100, 40 * MB, 40 * MB, 50, ("10/s",), DAY, ("ratelimit-reset", "seconds")),
    "sendgrid": (1000, 30 * MB, 30 * MB, 1000, (), 0, ("x-ratelimit-reset", "unix")),
    "mailtrap": (500, 50 * MB, 10 * MB, 1000, ("15/s",), 0, None),
    "mailgun": (1, None, 25 * MB, 1000, (), 0, None),
    "netcore": (1, None, None, None, (), 0, None),
    "nylas": (1, None, 25 * MB, None, ("10/s",), 3600, None),
    "ses": (1, None, 30 * MB, 50, (), 0, None),
    "brevo": (1, None, 20 * MB, 99, ("1000/s",), 900, ("x-sib-ratelimit-reset", "either")),
    "mailersend": (1, None, 25 * MB, 50, ("120/min",), 0, ("x-ratelimit-reset", "unix")),
    "mailjet": (50, 15 * MB, 15 * MB, 50, (), 0, None),
    "sparkpost": (1, None, 20 * MB, None, (), DAY, None),
    "mandrill": (1, None, 25 * MB, None, (), 0, None),
    "scaleway": (1, None, 2 * MB, None, ("50/h",), 0, None),
    "azure": (1, None, 7.5 * MB, 50, ("30/min", "100/h"), 0, None),
    "postal": (1, None, None, None, (), 0, None),
}

#: Requests under way at once, and what a region may be called.
CALLS = {
    "sendgrid": 64,
    "mailgun": 64,
    "netcore": 64,
    "ses": 64,
    "brevo": 64,
    "sparkpost": 64,
    "mandrill": 64,
}
REGIONS = {
    "sendgrid": ["global", "eu"],
    "mailtrap": ["transactional", "bulk", "sandbox"],
    "mailgun": ["us", "eu"],
    "netcore": ["global", "eu", "pepipost"],
    "nylas": ["us", "eu"],
    "ses": ["*"],
    "sparkpost": ["us", "eu"],
    "scaleway": ["fr-par", "nl-ams"],
}

#: What each can express that others cannot, or cannot that others can.
ABILITIES: dict[str, dict[str, object]] = {
    "postmark": {"text_octets": 5 * MB, "tags": 1, "tag_length": 1000, "metadata": True,
                 "metadata_pairs": 10, "name_length": 20, "value_length": 80},
    "resend": {"tags": 50, "tag_length": 256},
    "sendgrid": {"tags": 10, "tag_length": 255, "metadata": True, "metadata_octets": 10_000},
    "mailtrap": {"tags": 1, "tag_length": 255, "metadata": True, "metadata_octets": 1000},
    "mailgun": {"tags": 100, "tag_length": 128, "metadata": True, "metadata_octets": 16_000},
    "netcore": {"reply_to": 1, "inline": False, "text_only": False, "both_bodies": False, "tags": 100,
                "metadata": True},
    "nylas": {"bcc": False},
    "ses": {"return_path": True, "tags": 50, "metadata": True, "labels": 50},
    "brevo": {"reply_to": 1, "inline": False, "text_only": False, "ascii_headers": True, "tags": 100},
    "mailersend": {"headers": None, "reply_to": 1, "copies": 10, "subject": 998, "tags": 5},
    "mailjet": {"reply_to": 1, "utf8_local": True, "subject": 255, "tags": 1, "metadata": True},
    "sparkpost": {"return_path": True, "eight_bit": False, "tags": 10, "tag_length": 64, "metadata": True,
                  "metadata_octets": 10_000},
    "mandrill": {"eight_bit": False, "tags": 100, "tag_length": 50, "metadata": True},
    "scaleway": {"inline": False, "shortest": 10},
    "azure": {"sender_name": False},
    "postal": {"return_path": True, "tags": 1},
}  # fmt: skip
#: Patterns and lists: each has a test of what it lets through.
IN_WORDS = {"headers", "label", "tag_form", "kinds"}
#: Headers that a provider writes itself, as it lists them.
OF_ITS_OWN = {
    "sendgrid": "x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from "
    "subject reply-to cc bcc",
    "brevo": "x-mailin-custom x-sib-sandbox sender.ip idempotencykey",
    "mailjet": "from sender subject to cc bcc return-path delivered-to dkim-signature domainkey-status "
    "received-spf authentication-results received date message-id user-agent x-mailer list-id x-feedback-id "
    "x-csa-complaints x-mailjet-prio x-mailjet-debug x-mailjet-trackopen x-mailjet-trackclick "
    "x-mailjet-segmentation x-mailjet-campaign x-mj-customid x-mj-eventpayload x-mj-vars x-mj-templateid "
    "x-mj-templatelanguage x-mj-templateerrordeliver x-mj-templateerrorreporting x-mj-workflowid x-mj-mid "
    "x-mj-errormessage x-mj-statisticscontactslistid reply-to",
}

#: What is added to the URL, and where the request goes then.
PLACES = [
    ("postmark://k1234567@", "https://api.postmarkapp.com/email/batch"),
    ("postmark://k1234567@?template=a", "https://api.postmarkapp.com/email/batchWithTemplates"),
    ("resend://k1234567@", "https://api.resend.com/emails"),
    ("sendgrid://k1234567@", "https://api.sendgrid.com/v3/mail/send"),
    ("sendgrid://k1234567@?region=eu", "https://api.eu.sendgrid.com/v3/mail/send"),
    ("mailtrap://k1234567@", "https://send.api.mailtrap.io/api/batch"),
    ("mailtrap://k1234567@?stream=bulk", "https://bulk.api.mailtrap.io/api/batch"),
    ("mailtrap://k1234567@?sandbox=true&inbox=7", "https://sandbox.api.mailtrap.io/api/batch/7"),
    ("mailgun://k1234567@mg.a.example", "https://api.mailgun.net/v3/mg.a.example/messages.mime"),
    ("mailgun://k1234567@mg.a.example?region=eu", "https://api.eu.mailgun.net/v3/mg.a.example/messages.mime"),
    ("netcore://k1234567@", "https://emailapi.netcorecloud.net/v5.1/mail/send"),
    ("netcore://k1234567@?version=v5", "https://emailapi.netcorecloud.net/v5/mail/send"),
    ("netcore://k1234567@?region=eu&version=v6", "https://apieu.netcorecloud.net/v6/mail/send"),
    ("netcore://k1234567@?region=pepipost", "https://api.pepipost.com/v5.1/mail/send"),
    ("nylas://k1234567@g-1", "https://api.us.nylas.com/v3/grants/g-1/messages/send?type=mime"),
    ("nylas://k1234567@g-1?region=eu", "https://api.eu.nylas.com/v3/grants/g-1/messages/send?type=mime"),
    ("ses://k:s@?region=eu-west-1", "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails"),
    ("brevo://k1234567@", "https://api.brevo.com/v3/smtp/email"),
    ("mailersend://k1234567@", "https://api.mailersend.com/v1/email"),
    ("mailjet://k:s@", "https://api.mailjet.com/v3.1/send"),
    ("sparkpost://k1234567@", "https://api.sparkpost.com/api/v1/transmissions"),
    ("sparkpost://k1234567@?region=eu", "https://api.eu.sparkpost.com/api/v1/transmissions"),
    ("mandrill://k1234567@", "https://mandrillapp.com/api/1.0/messages/send-raw.json"),
    (
        "scaleway://k1234567@p-1",
        "https://api.scaleway.com/transactional-email/v1alpha1/regions/fr-par/emails",
    ),
    (
        "scaleway://k1234567@p-1?region=nl-ams",
        "https://api.scaleway.com/transactional-email/v1alpha1/regions/nl-ams/emails",
    ),
    (
        "azure://a2V5MTIzNDU2@r.communication.azure.com",
        "https://r.communication.azure.com/emails:send?api-version=2025-09-01",
    ),
    ("postal://k1234567@postal.a.example", "https://postal.a.example/api/v1/send/raw"),
]


def facts_of(scheme: str) -> Facts:
    return import_module(f"mailer.backends.{scheme}").FACTS


@pytest.mark.parametrize("scheme", ROLES)
def test_limits(scheme):
    facts = facts_of(scheme)
    assert FACTS[scheme] == (
        facts.batch,
        facts.request_octets,
        facts.size,
        facts.recipients,
        facts.requests,
        facts.key_seconds,
        facts.reset,
    )
    assert facts.calls == CALLS.get(scheme, 10)
    assert list(facts.bases) == REGIONS.get(scheme, [""])


@pytest.mark.parametrize("scheme", ROLES)
def test_abilities(scheme):
    can, usual = facts_of(scheme).features, Features()
    told = ABILITIES[scheme]
    for one in fields(Features):
        if one.name in told or one.name not in IN_WORDS:
            assert getattr(can, one.name) == told.get(one.name, getattr(usual, one.name)), one.name
    assert (can.headers or set()) == set(OF_ITS_OWN.get(scheme, "").split())


@pytest.mark.parametrize(("url", "place"), PLACES)
async def test_hosts_and_paths(url, place):
    backend = connect(urls.parse("main", url))
    message = letter(1, sender="news@acme.example", text=None)
    request = backend.provider.request([Letter(message)])
    await backend.close()
    assert backend._account.base + request.path == place


def test_every_region_has_its_place():
    """Of SES any region goes."""
    told = " ".join(place for _, place in PLACES)
    bases = [base for scheme in ROLES for base in facts_of(scheme).bases.values() if "{" not in base]
    assert [base for base in bases if base not in told] == []


def test_limits_by_the_hour_hold_beside_those_by_the_minute():
    config = urls.parse("main", "azure://a2V5MTIzNDU2@r.communication.azure.com")
    assert default_rates(config) == ("30/min", "100/h")


@pytest.mark.parametrize("scheme", ROLES)
async def test_one_recipient_too_many_is_refused_here(scheme):
    facts = facts_of(scheme)
    if facts.recipients is None:
        return
    backend = connect(urls.parse("main", ROLES[scheme].address("http://127.0.0.1:1")))
    plain = letter(1, **ROLES[scheme].plain)
    for count, said in ((facts.recipients, []), (facts.recipients + 1, ["recipients, the limit is"])):
        crowd = replace(plain, recipients=tuple(f"r{number}@example.org" for number in range(count)))
        found = [one for one in backend.complaints(crowd) if "Bcc copies" not in one]
        assert len(found) == len(said)
        assert all(words in one for words, one in zip(said, found, strict=True))
    await backend.close()


#: Who asks that MIME be ASCII, of those that take it as it is.
ASCII_ONLY = {"sparkpost", "mandrill"}


@pytest.mark.parametrize("scheme", [name for name in ROLES if facts_of(name).raw])
def test_octets_over_127_are_refused_where_they_would_be_broken(scheme):
    backend = connect(urls.parse("main", ROLES[scheme].address("http://127.0.0.1:1")))
    plain = letter(1)
    message = replace(plain, content=plain.data + "Grüße\r\n".encode())
    assert any("octets over 127" in one for one in backend.complaints(message)) is (scheme in ASCII_ONLY)


async def test_mailersend_takes_ten_copies():
    backend = connect(urls.parse("main", "mailersend://k1234567@"))
    for count, expected in ((10, 0), (11, 1)):
        assert len(backend.complaints(letter(cc=[f"c{n}@example.net" for n in range(count)]))) == expected
    await backend.close()


def test_all_of_them_are_here():
    assert list(FACTS) == list(ROLES)
    assert set(FACTS) <= set(BACKENDS)
