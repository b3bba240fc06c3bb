"""Providers over SMTP, by name: ``smtp+postmark://TOKEN@`` is their host, port and form of login."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from mailer.backends.contract import BackendConfig
from mailer.backends.marks import RELAYS
from mailer.errors import ConfigError

PREFIX = "smtp+"


@dataclass(frozen=True, slots=True)
class Service:
    """``hosts`` by region, the first is the default; ``@`` stands for one of your own. All take STARTTLS.

    ``user`` is the login name where it is always the same; "" when the key is both name and password; None
    when the account has both: ``smtp+mailgun://USER:PASSWORD@``.
    """

    hosts: Mapping[str, str]
    user: str | None
    source: str
    port: int = 587


def _one(host: str, user: str | None, source: str) -> Service:
    return Service({"": host}, user, source)


SERVICES: Mapping[str, Service] = {
    "postmark": Service(
        {"outbound": "smtp.postmarkapp.com", "broadcast": "smtp-broadcasts.postmarkapp.com"},
        "",
        "postmarkapp.com/developer/user-guide/send-email-with-smtp",
    ),
    "resend": _one("smtp.resend.com", "resend", "resend.com/docs/send-with-smtp"),
    "sendgrid": Service(
        {"global": "smtp.sendgrid.net", "eu": "smtp.eu.sendgrid.net"},
        "apikey",
        "twilio.com/docs/sendgrid/for-developers/sending-email",
    ),
    "mailtrap": Service(
        {"transactional": "live.smtp.mailtrap.io", "bulk": "bulk.smtp.mailtrap.io"},
        "api",
        "docs.mailtrap.io, SMTP integration",
    ),
    "mailgun": Service(
        {"us": "smtp.mailgun.org", "eu": "smtp.eu.mailgun.org"}, None, "documentation.mailgun.com, SMTP"
    ),
    "ses": Service(
        {"*": "email-smtp.{region}.amazonaws.com"}, None, "docs.aws.amazon.com/ses/latest/dg/smtp-connect"
    ),
    "brevo": _one("smtp-relay.brevo.com", None, "developers.brevo.com/docs/smtp-integration"),
    "mailersend": _one("smtp.mailersend.net", None, "developers.mailersend.com, SMTP relay"),
    "mailjet": _one("in-v3.mailjet.com", None, "dev.mailjet.com/smtp-relay/configuration"),
    "sparkpost": Service(
        {"us": "smtp.sparkpostmail.com", "eu": "smtp.eu.sparkpostmail.com"},
        "SMTP_Injection",
        "developers.sparkpost.com/api/smtp",
    ),
    "mandrill": _one("smtp.mandrillapp.com", "mailer", "mailchimp.com/developer/transactional/docs/smtp"),
    "scaleway": _one("smtp.tem.scaleway.com", None, "scaleway.com/en/docs/transactional-email"),
    "azure": _one("smtp.azurecomm.net", None, "learn.microsoft.com, Communication Services, email SMTP"),
    "netcore": _one("smtp.netcorecloud.net", None, "emaildocs.netcorecloud.com, SMTP, and its callers"),
    # Its user is the organisation and server; the key alone decides (app/lib/smtp_server/client.rb).
    "postal": Service({"@": "YOUR.HOST"}, "", "docs.postalserver.io, SMTP authentication", port=25),
    "gmail": _one("smtp.gmail.com", None, "support.google.com/a/answer/176600"),
    "microsoft365": _one("smtp.office365.com", None, "learn.microsoft.com/exchange, SMTP AUTH"),
}


#: Of these there is an API and nothing else.
WITHOUT = {
    "nylas": (
        "Nylas has no SMTP relay: use its API, nylas://KEY@GRANT, or the provider of the mailbox, "
        "such as smtp+gmail or smtp+microsoft365"
    )
}


def knows(scheme: str) -> bool:
    """Also those of which there is only to say that they have no relay."""
    return scheme.lower().removeprefix(PREFIX) in {*SERVICES, *WITHOUT} and scheme.lower().startswith(PREFIX)


def expanded(config: BackendConfig) -> BackendConfig:
    """The plain ``smtp://`` backend that this name stands for; any other as it is. Raises ConfigError."""
    scheme, _, rest = config.url.partition(":")
    if not scheme.lower().startswith(PREFIX):
        return config
    name = scheme.lower().removeprefix(PREFIX)
    if name in WITHOUT:
        raise _wrong(config, WITHOUT[name])
    if name not in SERVICES:
        raise _wrong(config, f"{scheme!r} is not one of: {', '.join(PREFIX + one for one in SERVICES)}")
    service = SERVICES[name]
    if rest.strip("/") and "@" not in service.hosts:
        raise _wrong(config, f"nothing stands behind the @-sign: {scheme}://…@")
    options = {"marks": name, **config.options} if name in RELAYS else dict(config.options)
    host = _host(config, service, options.pop("region", None))
    user, password = config.user, config.password
    if service.user is not None:
        key = password or user
        user, password = service.user or key, key
    return replace(config, url=f"smtp://{host}", user=user, password=password, options=options)


def _host(config: BackendConfig, service: Service, region: str | None) -> str:
    """With its port."""
    if "@" not in service.hosts:
        return f"{_of_region(config, service, region)}:{service.port}"
    own = urlsplit(config.url)
    if region is not None or not own.hostname:
        raise _wrong(
            config, f"your own host stands behind the @-sign: {own.scheme}://KEY@{service.hosts['@']}"
        )
    return own.netloc if own.port else f"{own.netloc}:{service.port}"


def _of_region(config: BackendConfig, service: Service, region: str | None) -> str:
    if "*" in service.hosts:
        if not region or not region.replace("-", "").isalnum():
            raise _wrong(config, "option 'region' is needed, such as eu-west-1")
        return service.hosts["*"].format(region=region)
    region = next(iter(service.hosts)) if region is None else region
    if region not in service.hosts:
        raise _wrong(config, f"option 'region' must be one of: {', '.join(filter(None, service.hosts))}")
    return service.hosts[region]


def _wrong(config: BackendConfig, text: str) -> ConfigError:
    return ConfigError(f"backend {config.name!r}: {text}")
