"""Seven more of the providers' own libraries, each beside our backend: the two requests mean the same.

Where a library takes finished MIME both send the very same octets. Nothing differs but the second of a
signature.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formataddr
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from mailer.backends import connect, urls
from mailer.message import Accepted, Outgoing
from tests.contract.providers.fake import Recorded, Response, serving
from tests.contract.providers.role import KEY
from tests.contract.providers.roles.azure import is_signed
from tests.contract.providers.roles.mailgun import form
from tests.contract.providers.sdks import (
    BILL,
    HTML,
    IDS,
    LOGO,
    METADATA,
    SUBJECT,
    TAG,
    TEXT,
    need,
    same_message,
)

ADA, CHARLES = ("ada@example.org", "Ada Lövelace"), ("c@example.net", "Charles")
HIDDEN = "hidden@example.net"
BILL_NAME = "rechnung für ada.pdf"
PLAIN_HTML = HTML.replace('<img src="cid:logo@mailer">', "")


@dataclass(frozen=True)
class Case:
    """One library. ``theirs`` sends ``message`` to the address it gets; ``proof`` are headers that log in."""

    scheme: str
    url: str
    theirs: Callable[[str, Outgoing], None]
    answer: Response
    message: Outgoing
    proof: tuple[str, ...] = ("authorization",)
    body: Callable[[Recorded], Any] = lambda request: request.json


def brevo(base: str, message: Outgoing) -> None:
    sdk, httpx = need("brevo"), need("httpx")
    from brevo import transactional_emails as mail

    with httpx.Client(trust_env=False) as client:
        sdk.Brevo(
            api_key=KEY, base_url=f"{base}/v3", httpx_client=client
        ).transactional_emails.send_transac_email(
            sender=mail.SendTransacEmailRequestSender(email="news@acme.example", name="Acme"),
            to=[mail.SendTransacEmailRequestToItem(email=ADA[0], name=ADA[1])],
            cc=[mail.SendTransacEmailRequestCcItem(email=CHARLES[0], name=CHARLES[1])],
            bcc=[mail.SendTransacEmailRequestBccItem(email=HIDDEN)],
            reply_to=mail.SendTransacEmailRequestReplyTo(email="help@acme.example", name="Help"),
            subject=SUBJECT,
            html_content=PLAIN_HTML,
            text_content=TEXT,
            headers={
                "X-Entity": "7",
                "X-Mailin-custom": json.dumps(IDS),
                "idempotencyKey": str(uuid5(NAMESPACE_URL, message.idempotency_key)),
            },
            attachment=[mail.SendTransacEmailRequestAttachmentItem(name=BILL_NAME, content=BILL)],
            tags=[TAG],
        )


def mailersend(base: str, message: Outgoing) -> None:
    sdk = need("mailersend")
    client = sdk.MailerSendClient(api_key=KEY, base_url=f"{base}/v1/")
    client.emails.send(
        sdk.EmailRequest(
            from_email=sdk.EmailContact(email="news@acme.example", name="Acme"),
            to=[sdk.EmailContact(email=ADA[0], name=ADA[1])],
            cc=[sdk.EmailContact(email=CHARLES[0], name=CHARLES[1])],
            bcc=[sdk.EmailContact(email=HIDDEN)],
            reply_to=sdk.EmailContact(email="help@acme.example", name="Help"),
            subject=SUBJECT,
            text=TEXT,
            html=HTML,
            headers=[sdk.EmailHeader(name="X-Entity", value="7")],
            tags=[TAG, IDS["campaign"]],
            attachments=[
                sdk.EmailAttachment(
                    content=LOGO, filename="logo.png", disposition="inline", id="logo@mailer"
                ),
                sdk.EmailAttachment(content=BILL, filename=BILL_NAME, disposition="attachment"),
            ],
        )
    )
    client.session.close()


def sparkpost(base: str, message: Outgoing) -> None:
    transmissions = need("sparkpost").SparkPost(KEY).transmissions
    transmissions.base_uri = f"{base}/api/v1"  # the library knows no other than https:
    transmissions.send(
        recipients=[{"address": {"email": one}, "tags": [TAG]} for one in message.recipients],
        campaign=TAG,
        email_rfc822=message.data.decode(),
        metadata={**METADATA, **IDS},
        return_path=message.sender,
        perform_substitutions=False,
    )
    transmissions.transport.sess.close()


def mandrill(base: str, message: Outgoing) -> None:
    client = need("mailchimp_transactional").Client(KEY)
    client.api_client.host = f"{base}/api/1.0"
    marked = f"X-MC-Metadata: {json.dumps(IDS)}\r\n{message.data.decode()}"
    raw = {"raw_message": marked, "to": list(message.recipients), "async": False}
    client.messages.send_raw(raw)


def scaleway(base: str, message: Outgoing) -> None:
    need("scaleway")
    from scaleway import Client
    from scaleway.tem.v1alpha1 import TemV1Alpha1API, types

    client = Client(
        access_key="SCW0123456789ABCDEFG",
        secret_key="11111111-2222-4333-8444-555555555555",
        default_project_id="11111111-2222-4333-8444-666666666666",
        api_url=base,
    )
    TemV1Alpha1API(client).create_email(
        region="fr-par",
        from_=types.CreateEmailRequestAddress(email="news@acme.example", name="Acme"),
        to=[types.CreateEmailRequestAddress(email=ADA[0], name=ADA[1])],
        cc=[types.CreateEmailRequestAddress(email=CHARLES[0], name=CHARLES[1])],
        bcc=[types.CreateEmailRequestAddress(email=HIDDEN)],
        subject=SUBJECT,
        text=TEXT,
        html=PLAIN_HTML,
        attachments=[types.CreateEmailRequestAttachment(BILL_NAME, "application/pdf", BILL)],
        additional_headers=[
            types.CreateEmailRequestHeader("X-Mailer-Campaign", IDS["campaign"]),
            types.CreateEmailRequestHeader("X-Mailer-Message", IDS["message"]),
            types.CreateEmailRequestHeader("X-Entity", "7"),
            types.CreateEmailRequestHeader("Reply-To", formataddr(("Help", "help@acme.example"))),
        ],
    )


def azure(base: str, message: Outgoing) -> None:
    need("azure.communication.email")
    from azure.communication.email import EmailClient
    from azure.core.credentials import AzureKeyCredential

    def person(one: tuple[str, str]) -> dict[str, str]:
        return {"address": one[0], "displayName": one[1]}

    mail = {
        "senderAddress": "news@acme.example",
        "recipients": {"to": [person(ADA)], "cc": [person(CHARLES)], "bcc": [{"address": HIDDEN}]},
        "content": {"subject": SUBJECT, "plainText": TEXT, "html": HTML},
        "headers": {
            "X-Mailer-Campaign": IDS["campaign"],
            "X-Mailer-Message": IDS["message"],
            "X-Entity": "7",
        },
        "replyTo": [person(("help@acme.example", "Help"))],
        "attachments": [
            {
                "name": "logo.png",
                "contentType": "image/png",
                "contentInBase64": LOGO,
                "contentId": "logo@mailer",
            },
            {"name": BILL_NAME, "contentType": "application/pdf", "contentInBase64": BILL},
        ],
    }
    with EmailClient(base, AzureKeyCredential(KEY)) as client:
        client.begin_send(mail, polling=False)


def nylas(base: str, message: Outgoing) -> None:
    client = need("nylas").Client(KEY, base)
    marked = f"X-Mailer-Campaign: {IDS['campaign']}\r\n".encode() + message.data
    client.messages.send_raw_mime("8ab0e9c1-77", {"mime": marked})


def multipart(request: Recorded) -> Any:
    return form(request), request.headers["content-type"].split(";")[0]


#: MailerSend has no metadata; others have neither.
UNLABELLED, TAGGED = same_message(tags=False, metadata=False), same_message(metadata=False)
WITHOUT_IMAGE = same_message(image=False, tags=False, metadata=False)
#: The grant's mailbox is addressed by the headers alone, so there are no hidden recipients.
SHOWN = same_message(tags=False, metadata=False)
SHOWN.recipients = SHOWN.recipients[:2]
ALL_THREE = {"total_accepted_recipients": 3, "total_rejected_recipients": 0, "id": "1"}
DONE_BY_NYLAS = {"request_id": "r", "data": {"id": "1", "grant_id": "g", "object": "message"}}
CASES = (
    Case(
        "brevo", "brevo://{key}@?base={base}/v3", brevo, Response(201, {"messageId": "<1@x>"}),
        same_message(image=False, metadata=False),
        proof=("api-key",),
    ),
    Case(
        "mailersend", "mailersend://{key}@?base={base}/v1&headers=yes", mailersend,
        Response(202, "", {"X-Message-Id": "1"}), TAGGED,
    ),
    Case(
        "sparkpost", "sparkpost://{key}@?base={base}/api/v1", sparkpost,
        Response(200, {"results": ALL_THREE}), same_message(),
    ),
    Case(
        "mandrill", "mandrill://{key}@?base={base}/api/1.0", mandrill,
        Response(200, [{"email": ADA[0], "status": "sent", "_id": "1"}]), UNLABELLED, proof=(),
    ),
    Case(
        "scaleway",
        "scaleway://11111111-2222-4333-8444-555555555555@11111111-2222-4333-8444-666666666666"
        "?base={base}/transactional-email/v1alpha1/regions/fr-par",
        scaleway, Response(200, {"emails": [{"id": "1", "mail_rcpt": ADA[0], "status": "new"}]}),
        WITHOUT_IMAGE, proof=("x-auth-token",),
    ),
    # Both are signed, for their own second each: see below.
    Case(
        "azure", "azure://{key}@acme.communication.azure.com?base={base}", azure,
        Response(202, {"id": "1", "status": "Running"}),
        same_message(name="", tags=False, metadata=False), proof=(),
    ),
    Case(
        "nylas", "nylas://{key}@8ab0e9c1-77?base={base}", nylas, Response(200, DONE_BY_NYLAS), SHOWN,
        body=multipart,
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.scheme for case in CASES])
async def test_the_providers_library_and_we_send_the_same_request(case: Case):
    async def yes(message: Outgoing) -> bool:
        return True

    with serving(lambda request: case.answer) as fake:
        case.theirs(fake.base, case.message)
        backend = connect(urls.parse("main", case.url.format(key=KEY, base=fake.base)))
        (outcome,) = await backend.send([case.message], yes)
        await backend.close()
        sdk, own = fake.requests

    assert isinstance(outcome, Accepted), outcome
    assert (own.method, own.target) == (sdk.method, sdk.target)
    assert {name: own.headers[name] for name in case.proof} == {
        name: sdk.headers[name] for name in case.proof
    }
    assert case.body(own) == case.body(sdk)
    if case.scheme == "azure":
        assert is_signed(own)
        assert is_signed(sdk)
