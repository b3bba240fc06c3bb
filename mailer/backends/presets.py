"""What well-known relays allow, where they say so in public. Settings that are given win.

Numbers of providers change: each row names where it is from and when it was read. A relay whose quota is
individual has no rate here; set yours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch

from mailer.backends.services import SERVICES
from mailer.errors import ConfigError

#: Of a backend about which nothing is known.
CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class Preset:
    """``hosts``: patterns of server names that it is recognised by. ``connections``: over all processes."""

    rates: tuple[str, ...] = ()
    connections: int = CONNECTIONS
    hosts: tuple[str, ...] = ()
    source: str = ""


NONE = Preset()


def _of(service: str, *others: str) -> tuple[str, ...]:
    """The servers that ``smtp+service`` stands for, and others of the same relay."""
    own = (host.replace("{region}", "*") for host in SERVICES[service].hosts.values())
    return (*own, *others)


PRESETS: Mapping[str, Preset] = {
    "gmail": Preset(
        ("500/d",),
        5,
        _of("gmail", "smtp.googlemail.com"),
        "support.google.com/a/answer/166852 (2026-11): 500 a day for personal and trial accounts; 2,000 for "
        "paid Workspace users: preset `google-workspace`",
    ),
    "google-workspace": Preset(
        ("2000/d",), 5, (), "support.google.com/a/answer/166852 (2026-11): 2,000 messages a day and user"
    ),
    "google-relay": Preset(
        ("10000/d",),
        10,
        ("smtp-relay.gmail.com",),
        "support.google.com/a/answer/2956491 (2026-11): 10,000 messages in 24 hours and user",
    ),
    "microsoft365": Preset(
        ("30/min", "10000/d"),
        3,
        _of("microsoft365", "smtp-mail.outlook.com"),
        "learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements (2026-11): 30 a "
        "minute, 10,000 recipients a day, 3 connections",
    ),
    "amazon-ses": Preset(
        (),
        10,
        _of("ses", "email-smtp-fips.*.amazonaws.com"),
        "docs.aws.amazon.com/ses/latest/dg/quotas.html (2026-11): individual; in the sandbox 200 a day, 1 a "
        "second",
    ),
    "azure": Preset(
        ("30/min", "100/h"),
        10,
        _of("azure"),
        "learn.microsoft.com/azure/communication-services/concepts/service-limits (2025): own domain 30 a "
        "minute, 100 an hour; more by ticket",
    ),
    "brevo": Preset(
        (),
        10,
        _of("brevo", "smtp-relay.sendinblue.com"),
        "developers.brevo.com, limits (2026-08): by plan",
    ),
    "icloud": Preset(
        ("1000/d",),
        5,
        ("smtp.mail.me.com",),
        "developer.nylas.com, provider limits (2026-08): 1,000 messages a day",
    ),
    "mailgun": Preset(
        (),
        10,
        _of("mailgun"),
        "documentation.mailgun.com (2026-08): by account",
    ),
    "mailtrap": Preset(
        ("15/s",),
        10,
        _of("mailtrap"),
        "docs.mailtrap.io (2026-08): 150 requests in 10 seconds; a new domain begins with 150 an hour",
    ),
    "postmark": Preset(
        (),
        10,
        _of("postmark"),
        "postmarkapp.com/support/article/do-we-have-rate-limits-for-smtp (2026-08): no rate published",
    ),
    "resend": Preset(
        ("10/s",),
        10,
        _of("resend"),
        "resend.com/docs, rate limit (2026-08): 10 requests a second and team",
    ),
    "scaleway": Preset(
        ("50/h",),
        5,
        _of("scaleway"),
        "scaleway.com/en/docs, organization quotas (2024): 50 an hour; 200 with a verified identity",
    ),
    "sendgrid": Preset(
        (),
        10,
        _of("sendgrid"),
        "twilio.com/docs/sendgrid integrating-with-the-smtp-api (2026-08): by plan",
    ),
    "socketlabs": Preset(
        (),
        10,
        ("smtp.socketlabs.com",),
        "help.socketlabs.com/docs/smtp-server-restrictions (2026-11): 10 connections",
    ),
}


def find(wish: str | None, host: str) -> Preset:
    """The preset of that name, else the one whose host it is; ``"none"`` and unknown hosts have none.

    Raises ConfigError for a name that is not known.
    """
    if wish is None:
        known = (preset for preset in PRESETS.values() for pattern in preset.hosts if fnmatch(host, pattern))
        return next(known, NONE)
    if wish in PRESETS:
        return PRESETS[wish]
    if wish == "none":
        return NONE
    close = get_close_matches(wish, PRESETS, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(PRESETS)}, and none"
    raise ConfigError(f"no preset {wish!r}; {meant}")
