"""What goes over the wire. The names are those of ``mailer.Message``."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic import AwareDatetime as Aware

from mailer.outbox.contract import Attachment, Message

#: Addresses of one kind on one message.
MOST_ADDRESSES = 100
MOST_MESSAGES = 1000

YEAR = 366 * 86_400


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be text: base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None


def _several(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError("must be an address, or a list of them")
    return [value] if isinstance(value, str) else value


def _in_our_times(at: datetime) -> datetime:
    if not 2000 <= at.year <= 2499:
        raise ValueError("must be a time between the years 2000 and 2499")
    return at


Base64 = Annotated[
    bytes,
    BeforeValidator(_decoded, json_schema_input_type=str),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), when_used="json"),
]
Text = Annotated[str, Field(max_length=1000)]
Addressees = Annotated[
    list[Text],
    BeforeValidator(_several, json_schema_input_type=Text | list[Text]),
    Field(max_length=MOST_ADDRESSES, description='`"Ada <ada@example.org>"`, or a list'),
]
Moment = Annotated[Aware, AfterValidator(_in_our_times)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AttachmentIn(_Wire):
    name: Annotated[str, Field(min_length=1, max_length=255)]
    content: Base64 = Field(
        description="the file in base64", json_schema_extra={"contentEncoding": "base64"}, repr=False
    )
    type: Text | None = Field(None, description="media type; guessed from the name when left out")
    content_id: Text | None = Field(None, description="the HTML shows it as `cid:…`")


class MessageIn(_Wire):
    """With `template`, `data` are its variables. Without, `subject`, `html` and `text` are sent literally."""

    template: Text | None = None
    to: Addressees = Field(description="everybody here gets the same message; the first decides its state")
    data: dict[str, Any] = Field(default_factory=dict, description="the template's variables")
    subject: Text | None = None
    html: str | None = None
    text: str | None = None
    sender: Text | None = Field(None, description="From; default: the template's")
    cc: Addressees = Field(default_factory=list)
    bcc: Addressees = Field(default_factory=list)
    reply_to: Addressees = Field(default_factory=list)
    headers: dict[str, Text] = Field(default_factory=dict, max_length=50)
    attachments: list[AttachmentIn] = Field(default_factory=list, max_length=100)
    language: Text | None = Field(None, description="which language of the template")
    stream: Literal["transactional", "bulk"] | None = None
    backend: Text | None = Field(None, description="a name from the server's settings")
    send_at: Moment | None = Field(None, description="not before then; with a time zone")
    expires_in: float | None = Field(None, gt=0, le=YEAR, description="seconds; not sent after that")
    on_unknown: Literal["hold", "retry"] | None = None
    sensitive: bool | None = Field(None, description="erase what it says when it has ended")
    tags: list[Text] = Field(default_factory=list, max_length=50)
    metadata: dict[str, Text] = Field(default_factory=dict, max_length=50)

    def message(self, idempotency_key: str | None) -> Message:
        """A time that has passed means now."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        if self.attachments:
            values["attachments"] = [
                Attachment(one.name, one.content, one.type, one.content_id) for one in self.attachments
            ]
        if self.send_at is not None and self.send_at <= datetime.now(UTC):
            values["send_at"] = None
        return Message(**values, idempotency_key=idempotency_key)


class BatchIn(_Wire):
    messages: list[MessageIn] = Field(min_length=1, max_length=MOST_MESSAGES)


class LooseBatch(_Wire):
    """Its messages are looked at one by one."""

    messages: list[Any] = Field(min_length=1, max_length=MOST_MESSAGES)


class FieldError(BaseModel):
    field: str
    message: str


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


class ReceiptOut(BaseModel):
    id: str


class ItemOut(BaseModel):
    """What became of one message of a batch: its `id`, or what is wrong with it."""

    status: int
    id: str | None = None
    problem: ProblemOut | None = None


class BatchOut(BaseModel):
    accepted: int
    refused: int
    results: list[ItemOut]


class TryOut(BaseModel):
    number: int
    at: datetime
    state: str
    phase: str | None
    code: int | None
    enhanced: str | None
    text: str | None
    backend: str | None


class StatusOut(BaseModel):
    id: str
    state: str
    to: str
    attempts: list[TryOut]
    reason: str | None
    outcome: str | None
    due_at: datetime | None
    message_id: str | None
    reference: str | None
    template: str | None
    tags: list[str]
    metadata: dict[str, str]


class ListedOut(BaseModel):
    id: str
    state: str
    to: str
    outcome: str | None
    settled_at: datetime | None
    template: str | None
    tags: list[str]


class PageOut(BaseModel):
    """`next` is the `cursor` of the next page. A page may be short, even empty, and not be the last."""

    messages: list[ListedOut]
    next: str | None


class CancelOut(BaseModel):
    id: str
    state: Literal["cancelled"]


class TemplatesOut(BaseModel):
    templates: list[str]


class PreviewOut(BaseModel):
    """Inline images are in the HTML. Show it in a sandboxed frame."""

    subject: str
    html: str | None
    text: str | None
