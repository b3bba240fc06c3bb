"""The least that there is to send, by the providers' own libraries and by us: no field too many or few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mailer.backends import connect, urls
from mailer.message import Accepted, Outgoing
from tests.contract.providers.fake import Recorded, serving
from tests.contract.providers.registry import ROLES
from tests.contract.providers.role import KEY
from tests.contract.providers.sdks import IDS, PLAIN, PLAIN_IDS, PLAIN_SENDER, need, plain_message

TO, SUBJECT, IDENTITY = "ada@example.org", "Hello", IDS["message"]
#: No campaign: a test mail belongs to none.
PAYLOAD = f'{{"message": "{IDENTITY}"}}'
TAGS = [{"name": "message", "value": PLAIN_IDS["message"]}]


def sendgrid(base: str) -> None:
    client = need("sendgrid").SendGridAPIClient(KEY, host=base)
    from sendgrid.helpers import mail as m

    mail = m.Mail(m.Email(PLAIN_SENDER))
    person = m.Personalization()
    person.add_to(m.To(TO))
    person.add_custom_arg(m.CustomArg("mailer_message", IDENTITY))
    person.subject = SUBJECT  # one for each, where the library has one for all
    mail.add_personalization(person)
    mail.add_content(m.Content("text/html", PLAIN))
    client.send(mail)


def resend(base: str) -> None:
    sdk = need("resend")
    known = sdk.api_key, sdk.api_url
    sdk.api_key, sdk.api_url = KEY, base
    mail = {"from": PLAIN_SENDER, "to": [TO], "subject": SUBJECT, "html": PLAIN, "text": "", "tags": TAGS}
    sdk.Emails.send(mail)
    sdk.api_key, sdk.api_url = known


def postmark(base: str) -> None:
    client = need("postmarker.core").PostmarkClient(server_token=KEY, root_api_url=base)
    client.emails.send_batch(
        {
            "From": PLAIN_SENDER,
            "To": TO,
            "Subject": SUBJECT,
            "HtmlBody": PLAIN,
            "MessageStream": "outbound",
            "Metadata": {"message": IDENTITY},
        }
    )
    client.session.close()


def mailjet(base: str) -> None:
    sdk = need("mailjet_rest")
    from mailjet_rest.config import Config

    message = {
        "From": {"Email": PLAIN_SENDER},
        "To": [{"Email": TO}],
        "Subject": SUBJECT,
        "HTMLPart": PLAIN,
        "CustomID": IDENTITY,
        "EventPayload": PAYLOAD,
    }
    login = (KEY, "secret-0123456789")
    with sdk.Client(auth=login, config=Config(version="v3.1", api_url=base)) as client:
        client.send.create(data={"Messages": [message]})


def brevo(base: str) -> None:
    sdk, httpx = need("brevo"), need("httpx")
    from brevo import transactional_emails as mail

    with httpx.Client(trust_env=False) as client:
        sdk.Brevo(api_key=KEY, base_url=base, httpx_client=client).transactional_emails.send_transac_email(
            sender=mail.SendTransacEmailRequestSender(email=PLAIN_SENDER),
            to=[mail.SendTransacEmailRequestToItem(email=TO)],
            subject=SUBJECT,
            html_content=PLAIN,
            headers={"X-Mailin-custom": PAYLOAD},
        )


def mailersend(base: str) -> None:
    sdk = need("mailersend")
    client = sdk.MailerSendClient(api_key=KEY, base_url=f"{base}/")
    person = sdk.EmailContact(email=PLAIN_SENDER)
    client.emails.send(
        sdk.EmailRequest(from_email=person, to=[sdk.EmailContact(email=TO)], subject=SUBJECT, html=PLAIN)
    )
    client.session.close()


def azure(base: str) -> None:
    need("azure.communication.email")
    from azure.communication.email import EmailClient
    from azure.core.credentials import AzureKeyCredential

    mail = {
        "senderAddress": PLAIN_SENDER,
        "recipients": {"to": [{"address": TO}]},
        "content": {"subject": SUBJECT, "html": PLAIN},
        "headers": {"X-Mailer-Message": IDENTITY},
    }
    with EmailClient(base, AzureKeyCredential(KEY)) as client:
        client.begin_send(mail, polling=False)


def mandrill(base: str) -> None:
    client = need("mailchimp_transactional").Client(KEY)
    client.api_client.host = base
    marked = f"X-MC-Metadata: {PAYLOAD}\r\n{plain_message().data.decode()}"
    raw = {"raw_message": marked, "to": [TO], "async": False}
    client.messages.send_raw(raw)


def sparkpost(base: str) -> None:
    transmissions = need("sparkpost").SparkPost(KEY).transmissions
    transmissions.base_uri = base
    transmissions.send(
        recipients=[TO],
        email_rfc822=plain_message().data.decode(),
        metadata={"message": IDENTITY},
        return_path=PLAIN_SENDER,
        perform_substitutions=False,
    )
    transmissions.transport.sess.close()


def ses(base: str) -> None:
    need("botocore")
    from botocore.session import Session

    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": "secret-0123456789"}
    client = Session().create_client("sesv2", region_name="eu-west-1", endpoint_url=base, **keys)
    client.send_email(
        Destination={"ToAddresses": [TO], "BccAddresses": []},
        Content={"Raw": {"Data": plain_message().data}},
        EmailTags=[{"Name": "message", "Value": PLAIN_IDS["message"]}],
    )
    client.close()


def theirs(request: Recorded, scheme: str) -> Any:
    """Postmark's library writes what is not there as null, or as an empty list."""
    if scheme == "postmark":
        return [{name: value for name, value in one.items() if value} for one in request.json]
    return request.json


LIBRARIES: tuple[Callable[[str], None], ...] = (
    sendgrid, resend, postmark, mailjet, brevo, mailersend, azure, mandrill, sparkpost, ses,
)  # fmt: skip
#: Resend's fake looks for our own User-Agent.
OWN_AGENT = {"user-agent": "mailer-worker/0"}
#: The header that holds the key; signatures are for a second each, and Mandrill's key is in the body.
PROOF = {
    "postmark": "x-postmark-server-token", "brevo": "api-key", "azure": "", "mandrill": "", "ses": "",
}  # fmt: skip


@pytest.mark.parametrize("library", LIBRARIES, ids=[library.__name__ for library in LIBRARIES])
async def test_the_least_is_the_same_request(library: Callable[[str], None]):
    role = ROLES[library.__name__]

    def play(request: Recorded) -> Any:
        headers = {**request.headers, **OWN_AGENT}
        return role.play(Recorded(request.method, request.target, headers, request.body))

    async def yes(message: Outgoing) -> bool:
        return True

    with serving(play) as fake:
        library(fake.base)
        backend = connect(urls.parse("main", role.address(fake.base)))
        (outcome,) = await backend.send([plain_message()], yes)
        await backend.close()
        sdk, own = fake.sends

    assert isinstance(outcome, Accepted), outcome
    assert (own.method, own.target) == (sdk.method, sdk.target)
    assert own.json == theirs(sdk, role.scheme)
    if proof := PROOF.get(role.scheme, "authorization"):
        assert own.headers[proof] == sdk.headers[proof]
