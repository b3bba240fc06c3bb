"""What a provider is asked for beside the message: templates of its own, pools, its clock, its tracking.

One row per provider and wish. Where there is no row the wish is refused, with both names.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mailer.backends import connect, urls
from mailer.backends.account import WISHES
from mailer.backends.complaints import complaints
from mailer.backends.http import HttpBackend
from mailer.backends.provider import Letter, Request
from mailer.errors import ConfigError
from tests.contract.providers.letters import letter
from tests.contract.providers.registry import ROLES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "providers.md"
#: Tomorrow, as somebody in Berlin writes it: nobody takes anything for next year.
MOMENT = (datetime.now(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)
AT, UNIX = quote(MOMENT.astimezone(timezone(timedelta(hours=1))).isoformat()), int(MOMENT.timestamp())
ADA = {"email": "ada@example.org", "first_name": "Ada"}
OFF = "track_opens=no"
NOT = "track_clicks=no"
RESEND_MESSAGE = [{"name": "message", "value": f"{1:024x}"}]
SES_MESSAGE = [{"Name": "message", "Value": f"{1:024x}"}]

#: Provider, what is wished for, where it stands in the request, and what stands there.
TABLE: tuple[tuple[str, str, str, Any], ...] = (
    ("postmark", "template=welcome", "Messages.0.TemplateAlias", "welcome"),
    ("postmark", "template=123", "Messages.0.TemplateId", 123),
    ("postmark", "template=welcome", "Messages.0.TemplateModel", ADA),
    ("postmark", "track_opens=yes", "0.TrackOpens", True),
    ("postmark", NOT, "0.TrackLinks", "None"),
    ("postmark", "track_clicks=yes", "0.TrackLinks", "HtmlAndText"),
    ("postmark", "stream=broadcast", "0.MessageStream", "broadcast"),
    ("postmark", "tags=a", "0.Tag", "a"),
    ("postmark", "metadata=a=b", "0.Metadata.a", "b"),
    ("resend", "template=t-1", "template", {"id": "t-1", "variables": ADA}),
    ("resend", f"send_at={AT}", "scheduled_at", MOMENT.isoformat()),
    ("resend", "tags=a=b", "tags", [*RESEND_MESSAGE, {"name": "a", "value": "b"}]),
    ("sendgrid", "template=d-1", "template_id", "d-1"),
    ("sendgrid", "template=d-1", "personalizations.0.dynamic_template_data", ADA),
    ("sendgrid", "pool=news", "ip_pool_name", "news"),
    ("sendgrid", f"send_at={AT}", "send_at", UNIX),
    ("sendgrid", OFF, "tracking_settings.open_tracking.enable", False),
    ("sendgrid", NOT, "tracking_settings.click_tracking.enable", False),
    ("sendgrid", "tags=a,b", "categories", ["a", "b"]),
    ("sendgrid", "metadata=a=b", "personalizations.0.custom_args.a", "b"),
    ("mailtrap", "template=t-1", "requests.0.template_uuid", "t-1"),
    ("mailtrap", "template=t-1", "requests.0.template_variables", ADA),
    ("mailtrap", "tags=a", "requests.0.category", "a"),
    ("mailtrap", "metadata=a=b", "requests.0.custom_variables.a", "b"),
    ("mailgun", "pool=news", "o:sending-ip-pool", "news"),
    ("mailgun", f"send_at={AT}", "o:deliverytime", format_datetime(MOMENT, usegmt=True)),
    ("mailgun", OFF, "o:tracking-opens", "no"),
    ("mailgun", NOT, "o:tracking-clicks", "no"),
    ("mailgun", "tags=a", "o:tag", "a"),
    ("mailgun", "metadata=a=b", "v:a", "b"),
    ("netcore", "template=12", "template_id", 12),
    ("netcore", "template=12", "personalizations.0.attributes", ADA),
    ("netcore", "pool=news", "settings.ip_pool", "news"),
    ("netcore", f"send_at={AT}", "schedule", UNIX),
    ("netcore", OFF, "settings.open_track", False),
    ("netcore", NOT, "settings.click_track", False),
    ("netcore", "tags=a", "tags", ["a"]),
    ("netcore", "metadata=a=b", "personalizations.0.token_to", re.compile('"a": "b"')),
    ("ses", OFF, "ConfigurationOverrides.Tracking.OpenTrackingEnabled", "DISABLED"),
    ("ses", NOT, "ConfigurationOverrides.Tracking.ClickTrackingEnabled", "DISABLED"),
    ("ses", "metadata=a=b", "EmailTags", [*SES_MESSAGE, {"Name": "a", "Value": "b"}]),
    ("ses", "tags=a", "EmailTags", [*SES_MESSAGE, {"Name": "a", "Value": "yes"}]),
    ("brevo", "template=12", "templateId", 12),
    ("brevo", "template=12", "params", ADA),
    ("brevo", "pool=192.0.2.1", "headers.sender+ip", "192.0.2.1"),
    ("brevo", f"send_at={AT}", "scheduledAt", MOMENT.isoformat(timespec="milliseconds")),
    ("brevo", "tags=a", "tags", ["a"]),
    ("brevo", "metadata=a=b", "headers.X-Mailin-custom", re.compile('{"a": "b", ')),
    ("mailersend", "template=t-1", "template_id", "t-1"),
    ("mailersend", "template=t-1", "personalization", [{"email": "ada@example.org", "data": ADA}]),
    ("mailersend", f"send_at={AT}", "send_at", UNIX),
    ("mailersend", OFF, "settings.track_opens", False),
    ("mailersend", NOT, "settings.track_clicks", False),
    ("mailersend", "tags=a", "tags", ["a"]),
    ("mailjet", "template=12", "Messages.0.TemplateID", 12),
    ("mailjet", "template=12", "Messages.0.TemplateLanguage", True),
    ("mailjet", "template=12", "Messages.0.Variables", ADA),
    ("mailjet", OFF, "Messages.0.TrackOpens", "disabled"),
    ("mailjet", NOT, "Messages.0.TrackClicks", "disabled"),
    ("mailjet", "tags=a", "Messages.0.CustomCampaign", "a"),
    ("mailjet", "metadata=a=b", "Messages.0.EventPayload", re.compile('{"a": "b", ')),
    ("sparkpost", "template=t-1", "content", {"template_id": "t-1"}),
    ("sparkpost", "template=t-1", "substitution_data", ADA),
    ("sparkpost", "pool=news", "options.ip_pool", "news"),
    ("sparkpost", f"send_at={AT}", "options.start_time", MOMENT.isoformat()),
    ("sparkpost", OFF, "options.open_tracking", False),
    ("sparkpost", NOT, "options.click_tracking", False),
    ("sparkpost", "tags=a,b", "campaign_id", "a"),
    ("sparkpost", "tags=a,b", "recipients.0.tags", ["a", "b"]),
    ("sparkpost", "metadata=a=b", "metadata.a", "b"),
    ("mandrill", "tags=a,b", "raw_message", re.compile("^X-MC-Tags: a,b\r\n")),
    ("mandrill", "metadata=a=b", "raw_message", re.compile('^X-MC-Metadata: {"a": "b", ')),
    ("mandrill", "pool=news", "ip_pool", "news"),
    ("mandrill", f"send_at={AT}", "send_at", f"{MOMENT:%Y-%m-%d %H:%M:%S}"),
    ("azure", OFF, "userEngagementTrackingDisabled", True),
    ("postal", "tags=a", "data", re.compile(f"^{b64encode(b'X-Postal-Tag: a').decode()}")),
)
CAN = {(scheme, wish.partition("=")[0]) for scheme, wish, _, _ in TABLE} | {
    (scheme, "sandbox") for scheme, role in ROLES.items() if role.sandbox
}
#: What a message is told in, and does not go along with a template.
CONTENT = re.compile(rb"Hello Ada|number 1|content.{0,6}\[|email_rfc822")


def backend_of(scheme: str, more: str) -> HttpBackend:
    backend = connect(urls.parse("main", ROLES[scheme].address("https://api.example.com", more)))
    assert isinstance(backend, HttpBackend)
    return backend


def request_of(backend: HttpBackend, scheme: str) -> Request:
    message = letter(1, **{**ROLES[scheme].plain, "to": "Ada <ada@example.org>"})
    message.variables = ADA
    return backend.provider.request([Letter(message)])


def at(request: Request, place: str) -> Any:
    """By keys and positions; of a form, the field of that name."""
    if not request.headers["Content-Type"].startswith("application/json"):
        found = re.search(rf'name="{re.escape(place)}"\r\n\r\n(.*?)\r\n'.encode(), request.content)
        return found and found[1].decode()
    value: Any = json.loads(request.content)
    for key in place.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key.replace("+", ".")]
    return value


#: Without the time in them: processes that collect in different minutes must agree.
NAMES = [f"{scheme}-{wish.partition('=')[0]}-{place}" for scheme, wish, place, _ in TABLE]


@pytest.mark.parametrize(("scheme", "wish", "place", "expected"), TABLE, ids=NAMES)
async def test_a_wish_is_passed_on(scheme, wish, place, expected):
    backend = backend_of(scheme, wish)
    request = request_of(backend, scheme)
    await backend.close()

    found = at(request, place)
    assert expected.search(found) if isinstance(expected, re.Pattern) else found == expected
    if wish.startswith("template"):
        assert CONTENT.search(request.content.replace(b'"content":{"template_id"', b"")) is None or (
            scheme == "netcore"  # wants a subject in any case
        )


#: Wishes for which there is no place in a request unless somebody has them.
UNSAID = ("pool", "send_at", "track_opens", "track_clicks")


@pytest.mark.parametrize(("scheme", "wish", "place", "expected"), TABLE, ids=NAMES)
async def test_what_nobody_wished_for_is_not_asked_of_the_provider(scheme, wish, place, expected):
    if not wish.startswith(UNSAID):
        return
    backend = backend_of(scheme, "")
    request = request_of(backend, scheme)
    await backend.close()
    try:
        found = at(request, place)
    except (KeyError, IndexError):
        found = None
    assert found is None


@pytest.mark.parametrize("scheme", ROLES)
@pytest.mark.parametrize("wish", WISHES)
def test_a_wish_that_cannot_be_met_is_refused_with_both_names(scheme, wish):
    if (scheme, wish) in CAN:
        return
    title = import_module(f"mailer.backends.{scheme}").FACTS.title
    with pytest.raises(ConfigError, match=f"backend 'main': {title} has no {WISHES[wish]}"):
        backend_of(scheme, f"{wish}=1")


@pytest.mark.parametrize("scheme", ROLES)
def test_what_can_be_wished_for_is_told(scheme):
    cells = ["yes" if (scheme, wish) in CAN else "" for wish in WISHES]
    assert f"| `{scheme}`: | {' | '.join(cells)} |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", ["tomorrow", "2026-12-01T09:00", "1796112000"])
def test_a_time_needs_its_zone(wrong):
    with pytest.raises(ConfigError, match="option 'send_at' must be a time with its zone"):
        backend_of("sendgrid", f"send_at={wrong}")


@pytest.mark.parametrize("scheme", ["brevo", "mailjet", "netcore"])
def test_where_templates_have_numbers_others_are_refused(scheme):
    with pytest.raises(ConfigError, match="option 'template' must be a whole number"):
        backend_of(scheme, "template=welcome")


def test_a_template_needs_no_html_of_ours():
    """Brevo takes no text without HTML; with a template neither goes there."""
    text = letter(1, html=None)
    for more, found in (("", 1), ("template=12", 0)):
        config = urls.parse("main", ROLES["brevo"].address("https://api.example.com", more))
        assert len(complaints(config, text.data)) == found


#: Provider, days that it takes a message ahead, as its documentation says.
HORIZONS = (
    ("resend", 30),
    ("sendgrid", 3),
    ("mailgun", 7),
    ("mailersend", 3),
    ("sparkpost", 3),
    ("mandrill", 365),
)


@pytest.mark.parametrize(("scheme", "days"), HORIZONS)
async def test_nothing_is_left_to_a_provider_for_later_than_it_takes(scheme, days):
    just, later = MOMENT + timedelta(days=days - 1.01), MOMENT + timedelta(days=days)
    await backend_of(scheme, f"send_at={quote(just.isoformat())}").close()
    with pytest.raises(ConfigError, match=f"nothing for later than in {days} days"):
        backend_of(scheme, f"send_at={quote(later.isoformat())}")


@pytest.mark.parametrize(("scheme", "pool"), [("sendgrid", "a"), ("sendgrid", "a" * 65), ("brevo", "news")])
def test_a_pool_that_cannot_be_is_refused(scheme, pool):
    with pytest.raises(ConfigError, match=f"'{pool}' is no pool of "):
        backend_of(scheme, f"pool={pool}")


LONG = "x" * 256
#: Provider, what a message is made with, and the limit that it is over.
TOO_MUCH = (
    ("postmark", {"html": "ä" * 2_500_001}, "a text over 5 MB"),
    ("mailjet", {"subject": LONG}, "a subject over 255 characters"),
    ("mailersend", {"subject": "x" * 999}, "a subject over 998 characters"),
    ("scaleway", {"subject": "Hello"}, "a subject or text under 10 characters"),
    ("scaleway", {"text": "Hi\n"}, "a subject or text under 10 characters"),
    ("postmark", {"cc": [f"c{n}@example.net" for n in range(50)]}, "51 recipients, the limit is 50"),
    ("mailersend", {"cc": [f"c{n}@example.net" for n in range(11)]}, "more than 10 Cc or Bcc copies"),
    ("brevo", {"bcc": [f"c{n}@example.net" for n in range(99)]}, "100 recipients, the limit is 99"),
    ("azure", {"cc": [f"c{n}@example.net" for n in range(50)]}, "51 recipients, the limit is 50"),
    ("resend", {"cc": [f"c{n}@example.net" for n in range(50)]}, "51 recipients, the limit is 50"),
    ("ses", {"cc": [f"c{n}@example.net" for n in range(50)]}, "51 recipients, the limit is 50"),
    ("mailjet", {"cc": [f"c{n}@example.net" for n in range(50)]}, "51 recipients, the limit is 50"),
)


@pytest.mark.parametrize(("scheme", "made", "words"), TOO_MUCH)
async def test_a_message_over_a_limit_is_refused_here(scheme, made, words):
    backend = backend_of(scheme, "headers=yes" if scheme == "mailersend" else "")
    title = backend.provider.facts.title
    assert backend.complaints(letter(1, **{**ROLES[scheme].plain, **made})) == [
        f"{title} cannot send {words}"
    ]
    await backend.close()


async def test_what_is_just_within_the_limits_goes():
    for scheme, made in (
        ("postmark", {"html": "ä" * 2_490_000}),
        ("mailjet", {"subject": LONG[1:]}),
        ("mailjet", {"file": True, "image": True}),
        ("scaleway", {"subject": "0123456789", "file": True}),
    ):
        backend = backend_of(scheme, "")
        assert backend.complaints(letter(1, **{**ROLES[scheme].plain, **made})) == []
        await backend.close()


async def test_an_attachment_of_a_kind_that_is_not_taken_is_named():
    backend = backend_of("scaleway", "")
    message = letter(1, subject="Hello to everybody", file=True)
    message.content = message.data.replace(b"application/pdf", b"application/zip")
    assert backend.complaints(message) == ["Scaleway cannot send attachments of type application/zip"]
    await backend.close()


async def test_a_subject_that_lies_at_the_provider_is_not_measured():
    backend = backend_of("mailjet", "template=12")
    assert backend.complaints(letter(1, subject=LONG)) == []
    await backend.close()
