"""The providers' own libraries send the same message as we do, and the two requests mean the same.

What differs is listed where it is compared; all of it is ours on purpose: in batches what
the libraries have no parameter for.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer.backends import connect, urls
from mailer.message import Accepted, Outgoing
from tests.contract.providers.fake import Fake, Recorded, serving
from tests.contract.providers.registry import ROLES
from tests.contract.providers.role import KEY
from tests.contract.providers.sdks import (
    BILL,
    HTML,
    IDS,
    LOGO,
    METADATA,
    PLAIN_IDS,
    SUBJECT,
    TAG,
    TEXT,
    need,
    same_message,
)


async def both(scheme: str, theirs: Callable[[Fake], None], message: Outgoing) -> tuple[Recorded, Recorded]:
    """The request of the provider's library, and ours."""
    with serving(ROLES[scheme].play) as fake:
        theirs(fake)
        backend = connect(urls.parse("main", ROLES[scheme].address(fake.base)))

        async def yes(message: Outgoing) -> bool:
            return True

        (outcome,) = await backend.send([message], yes)
        await backend.close()
        assert isinstance(outcome, Accepted), outcome
        sdk, own = fake.sends
    assert (sdk.method, sdk.target) == (own.method, own.target)
    assert own.headers["content-type"].split(";")[0] == sdk.headers["content-type"].split(";")[0]
    return sdk, own


def sendgrid(fake: Fake) -> None:
    client = need("sendgrid").SendGridAPIClient(KEY, host=fake.base)
    from sendgrid.helpers import mail as m

    mail = m.Mail(m.Email("news@acme.example", "Acme"), subject=SUBJECT)
    person = m.Personalization()
    person.add_to(m.To("ada@example.org", "Ada Lövelace"))
    person.add_cc(m.Cc("c@example.net", "Charles"))
    person.add_bcc(m.Bcc("hidden@example.net"))
    person.add_header(m.Header("X-Entity", "7"))
    person.add_custom_arg(m.CustomArg("order", METADATA["order"]))
    for name, value in IDS.items():
        person.add_custom_arg(m.CustomArg(f"mailer_{name}", value))
    mail.add_personalization(person)
    mail.add_category(m.Category(TAG))
    mail.reply_to_list = [m.ReplyTo("help@acme.example", "Help")]
    mail.add_content(m.Content("text/plain", TEXT))
    mail.add_content(m.Content("text/html", HTML))
    mail.add_attachment(m.Attachment(LOGO, "logo.png", "image/png", "inline", "logo@mailer"))
    mail.add_attachment(m.Attachment(BILL, "rechnung für ada.pdf", "application/pdf", "attachment"))
    # The fake wants a subject per person, as we write it; the library writes one for all.
    person.subject = SUBJECT
    assert client.send(mail).status_code == 202


async def test_sendgrid():
    sdk, own = await both("sendgrid", sendgrid, same_message())

    ours, theirs = own.json, sdk.json
    assert theirs.pop("subject") == SUBJECT
    assert _by_name(ours) == _by_name(theirs)
    assert own.headers["authorization"] == sdk.headers["authorization"]


def _by_name(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"attachments": sorted(body["attachments"], key=lambda one: one["filename"])}


async def test_resend(monkeypatch):
    resend = need("resend")
    monkeypatch.setattr(resend, "api_key", KEY)

    def send(fake: Fake) -> None:
        monkeypatch.setattr(resend, "api_url", fake.base)
        fake.play = lambda request: ROLES["resend"].play(_as_ours(request))
        resend.Emails.send(
            {
                "from": '"Acme" <news@acme.example>',
                "to": ['"Ada Lövelace" <ada@example.org>'],
                "cc": ['"Charles" <c@example.net>'],
                "bcc": ["hidden@example.net"],
                "reply_to": ['"Help" <help@acme.example>'],
                "subject": SUBJECT,
                "text": TEXT,
                "html": HTML,
                "headers": {"X-Entity": "7"},
                "tags": [
                    {"name": "campaign", "value": PLAIN_IDS["campaign"]},
                    {"name": "message", "value": PLAIN_IDS["message"]},
                    {"name": TAG, "value": "yes"},
                ],
                "attachments": [
                    {"content": LOGO, "filename": "logo.png", "content_type": "image/png"}
                    | {"content_id": "logo@mailer"},
                    {"content": BILL, "filename": "rechnung für ada.pdf", "content_type": "application/pdf"},
                ],
            },
            {"idempotency_key": f"{1:024x}.1"},
        )

    sdk, own = await both("resend", send, same_message(metadata=False))

    assert own.json == sdk.json
    for header in ("authorization", "idempotency-key"):
        assert own.headers[header] == sdk.headers[header]


def _as_ours(request: Recorded) -> Recorded:
    """The fake looks for our own User-Agent."""
    headers = {**request.headers, "user-agent": "mailer-worker/0"}
    return Recorded(request.method, request.target, headers, request.body)


async def test_postmark():
    postmarker = need("postmarker.core")

    def send(fake: Fake) -> None:
        client = postmarker.PostmarkClient(server_token=KEY, root_api_url=fake.base)
        client.emails.send_batch(
            {
                "From": '"Acme" <news@acme.example>',
                "To": '"Ada Lövelace" <ada@example.org>',
                "Cc": '"Charles" <c@example.net>',
                "Bcc": "hidden@example.net",
                "ReplyTo": '"Help" <help@acme.example>',
                "Subject": SUBJECT,
                "TextBody": TEXT,
                "HtmlBody": HTML,
                "Headers": {"X-Entity": "7"},
                "Attachments": [
                    ("logo.png", LOGO, "image/png", "cid:logo@mailer"),
                    ("rechnung für ada.pdf", BILL, "application/pdf"),
                ],
                "MessageStream": "outbound",
                "Tag": TAG,
                "Metadata": {**METADATA, **IDS},
            }
        )
        client.session.close()

    sdk, own = await both("postmark", send, same_message())

    theirs = [{name: value for name, value in one.items() if value is not None} for one in sdk.json]
    assert own.json == theirs
    for header in ("x-postmark-server-token", "accept"):
        assert own.headers[header] == sdk.headers[header]


async def test_mailjet():
    mailjet = need("mailjet_rest")
    need("mailjet_rest.config")
    from mailjet_rest.config import Config

    message = {
        "From": {"Email": "news@acme.example", "Name": "Acme"},
        "To": [{"Email": "ada@example.org", "Name": "Ada Lövelace"}],
        "Cc": [{"Email": "c@example.net", "Name": "Charles"}],
        "Bcc": [{"Email": "hidden@example.net"}],
        "ReplyTo": {"Email": "help@acme.example", "Name": "Help"},
        "Subject": SUBJECT,
        "TextPart": TEXT,
        "HTMLPart": HTML,
        "Headers": {"X-Entity": "7"},
        "Attachments": [
            {"ContentType": "application/pdf", "Filename": "rechnung für ada.pdf", "Base64Content": BILL}
        ],
        "InlinedAttachments": [
            {"ContentType": "image/png", "Filename": "logo.png", "Base64Content": LOGO}
            | {"ContentID": "logo@mailer"}
        ],
        "CustomID": IDS["message"],
        "CustomCampaign": TAG,
        "EventPayload": json.dumps(IDS | METADATA, sort_keys=True),
    }

    def send(fake: Fake) -> None:
        config = Config(version="v3.1", api_url=fake.base)
        with mailjet.Client(auth=(KEY, "secret-0123456789"), config=config) as client:
            assert client.send.create(data={"Messages": [message]}).status_code == 200

    sdk, own = await both("mailjet", send, same_message())

    assert own.json == sdk.json
    assert own.headers["authorization"] == sdk.headers["authorization"]


@pytest.fixture
def tls(certificate, monkeypatch) -> Iterator[tuple[ssl.SSLContext, Path]]:
    own = certificate()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own.cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    return context, own.cert


async def test_mailtrap(tls):
    mt = need("mailtrap")
    context, trusted = tls

    with serving(ROLES["mailtrap"].play) as fake:
        fake.secure(context)
        client = mt.MailtrapClient(token=KEY, api_host=f"127.0.0.1:{fake.port}")
        base = mt.BatchMail(sender=mt.Address("news@acme.example", "Acme"), subject=SUBJECT)
        request = mt.BatchEmailRequest(
            to=[mt.Address("ada@example.org", "Ada Lövelace")],
            cc=[mt.Address("c@example.net", "Charles")],
            bcc=[mt.Address("hidden@example.net")],
            reply_to=mt.Address("help@acme.example", "Help"),
            sender=mt.Address("news@acme.example", "Acme"),
            subject=SUBJECT,
            text=TEXT,
            html=HTML,
            headers={"X-Entity": "7"},
            category=TAG,
            custom_variables={**METADATA, **IDS},
            attachments=[
                mt.Attachment(LOGO.encode(), "logo.png", mt.Disposition.INLINE, "image/png", "logo@mailer"),
                mt.Attachment(
                    BILL.encode(), "rechnung für ada.pdf", mt.Disposition.ATTACHMENT, "application/pdf"
                ),
            ],
        )
        sending = client.sending_api
        sending.batch_send(mt.BatchSendEmailParams(base=base, requests=[request]))
        sending._client._session.close()  # it has no other way
        url = f"mailtrap://{KEY}@?base=https://127.0.0.1:{fake.port}&ca_file={trusted}"
        backend = connect(urls.parse("main", url))

        async def yes(message: Outgoing) -> bool:
            return True

        await backend.send([same_message()], yes)
        await backend.close()
        sdk, own = fake.sends

    assert (own.target, own.json) == (sdk.target, sdk.json)
    # Their library writes "Authorization: Bearer", their documents allow both.
    assert sdk.headers["authorization"] == f"Bearer {own.headers['api-token']}"


async def test_ses():
    need("botocore")
    from botocore.session import Session

    message = same_message()

    def send(fake: Fake) -> None:
        client = Session().create_client(
            "sesv2",
            region_name="eu-west-1",
            endpoint_url=fake.base,
            aws_access_key_id=KEY,
            aws_secret_access_key="secret-0123456789",
        )
        client.send_email(
            Destination={"ToAddresses": ["ada@example.org"], "BccAddresses": [*message.recipients[1:]]},
            Content={"Raw": {"Data": message.data}},
            EmailTags=[
                {"Name": name, "Value": value}
                for name, value in {**PLAIN_IDS, TAG: "yes", **METADATA}.items()
            ],
        )
        client.close()

    sdk, own = await both("ses", send, message)

    assert own.json == sdk.json
    assert b64decode(own.json["Content"]["Raw"]["Data"]) == message.data
    ours, theirs = own.headers["authorization"], sdk.headers["authorization"]
    assert ours.split("/")[0] == theirs.split("/")[0]
    assert ours.split("/")[2:4] == theirs.split("/")[2:4]  # region and service; the day may change between


async def test_ses_is_asked_for_domains_as_its_library_asks():
    need("botocore")
    from botocore.session import Session

    with serving(ROLES["ses"].play) as fake:
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": "secret-0123456789"}
        client = Session().create_client("sesv2", region_name="eu-west-1", endpoint_url=fake.base, **keys)
        told = client.list_email_identities(PageSize=1000)["EmailIdentities"]
        client.close()
        backend = connect(urls.parse("main", ROLES["ses"].address(fake.base)))
        said = await backend.probe()
        await backend.close()
    sdk, own = (request for request in fake.requests if request.path.endswith("identities"))

    assert (own.method, own.target, own.json) == (sdk.method, sdk.target, sdk.json)
    assert said.endswith(f"; {told[0]['IdentityName']} not verified")
