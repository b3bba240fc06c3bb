"""All providers that the contract suite plays; a new one is one line here."""

from tests.contract.providers.roles import postmark, resend, sendgrid

ROLES = {role.scheme: role for role in (postmark.ROLE, resend.ROLE, sendgrid.ROLE)}
