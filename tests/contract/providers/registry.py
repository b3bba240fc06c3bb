"""All providers that the contract suite plays; a new one is one line here."""

from importlib import import_module

NAMES = (
    "postmark",
    "resend",
    "sendgrid",
    "mailtrap",
    "mailgun",
    "netcore",
    "nylas",
    "ses",
    "brevo",
    "mailersend",
    "mailjet",
    "sparkpost",
    "mandrill",
    "scaleway",
    "azure",
    "postal",
)
ROLES = {name: import_module(f"tests.contract.providers.roles.{name}").ROLE for name in NAMES}
