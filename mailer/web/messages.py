"""``/v1/messages``: hand over, ask, list, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.routing import Route

from mailer.errors import InputError, MailerError
from mailer.ledger.listing import Wanted
from mailer.message import State
from mailer.outbox.access import Key
from mailer.outbox.contract import Message, Receipt, Status
from mailer.web import answers, models, problems, requests
from mailer.web.desk import Desk
from mailer.web.document import PROBLEMS, json_body
from mailer.web.problems import Problem

MOST_LISTED = 200
PATH = "/v1/messages"

_ONE = {
    "template": "password-reset",
    "to": "Ada <ada@example.org>",
    "data": {"name": "Ada", "link": "https://shop.acme.example/reset/7", "minutes": 30},
}
_PLAIN = {"sender": "shop@acme.example", "to": "ada@example.org", "subject": "Hello", "text": "How are you?"}
_MANY = {"messages": [_ONE, _PLAIN]}

Words = Annotated[str | None, Field(max_length=1000, pattern="^[^\\x00]*$")]


class Asked(BaseModel):
    """What a list is limited to."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    to: Words = None
    tag: Words = None
    template: Words = None
    since: models.Moment | None = None
    cursor: str | None = Field(None, pattern="^[0-9a-f]{11,40}$", description="`next` of the page before")
    limit: int = Field(50, ge=1, le=MOST_LISTED)

    def wanted(self, only: str | None) -> Wanted:
        at = self.since.timestamp() if self.since else 0.0
        return Wanted(self.state and self.state.value, self.to, self.tag, self.template, at, only)


def routes(desk: Desk) -> APIRouter:
    api = APIRouter(prefix=PATH, tags=["messages"])
    _add_handing_over(api, desk)
    _add_questions(api, desk)
    _add_cancel(api, desk)
    return api


def _add_handing_over(api: APIRouter, desk: Desk) -> None:
    @api.post(
        "",
        status_code=202,
        summary="Hand over one message",
        response_model=models.ReceiptOut,
        responses=PROBLEMS,
        openapi_extra=json_body("MessageIn", {"template": _ONE, "literal": _PLAIN}),
    )
    async def post_message(request: Request) -> Response:
        """When the answer comes, the message is stored for good. Nothing is stored with any other answer."""
        key = await desk.gate.admit(request, "send")
        idempotency_key = requests.idempotency_key(request)
        sent = await requests.body(request, desk.max_body)
        await desk.gate.pay(key, 1)
        receipt = await desk.threads.run(_put_one, desk, key, sent, idempotency_key)
        return problems.answer(202, {"id": receipt.id}, _headers([receipt]))

    # FastAPI looks for dependencies of every request; this has none. The other one is for the document.
    api.routes.insert(0, Route(PATH, post_message, methods=["POST"], include_in_schema=False))

    @api.post(
        "/batch",
        status_code=202,
        summary="Hand over up to 1,000 messages",
        response_model=models.BatchOut,
        responses=PROBLEMS,
        openapi_extra=json_body("BatchIn", {"two": _MANY}),
    )
    async def post_batch(request: Request) -> Response:
        """Those that are right are stored, in one transaction. `results` says what is wrong with the others,
        in the order in which they came. 422 when none was right."""
        key = await desk.gate.admit(request, "send")
        idempotency_key = requests.idempotency_key(request)
        sent = await requests.body(request, desk.max_body)
        batch = await desk.threads.run(_batch, sent)
        await desk.gate.pay(key, len(batch))
        return await desk.threads.run(_put_batch, desk, key, batch, sent, idempotency_key)


def _add_questions(api: APIRouter, desk: Desk) -> None:
    @api.get("", summary="List messages, newest first", response_model=models.PageOut, responses=PROBLEMS)
    async def list_messages(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        """By the time at which they were handed over, or are to be sent."""
        key = await desk.gate.admit(request, "read")
        wanted = asked.wanted(_only(key))
        listing = desk.ledger.listing
        found, following = await desk.threads.run(listing.page, wanted, asked.limit, asked.cursor)
        return problems.answer(200, {"messages": [answers.listed(one) for one in found], "next": following})

    @api.get("/{id}", summary="What became of a message", response_model=models.StatusOut, responses=PROBLEMS)
    async def get_message(request: Request, id: str) -> Response:  # noqa: A002 - its name in the path
        """Every attempt with its phase, code, text and time."""
        key = await desk.gate.admit(request, "read")
        status = await desk.threads.run(_status, desk, key, requests.message_id(id))
        return problems.answer(200, answers.status(status))


def _add_cancel(api: APIRouter, desk: Desk) -> None:
    @api.post(
        "/{id}/cancel",
        summary="Do not send a message",
        response_model=models.CancelOut,
        responses=PROBLEMS,
    )
    async def cancel_message(request: Request, id: str) -> Response:  # noqa: A002 - its name in the path
        """409 when it is on its way, or settled."""
        key = await desk.gate.admit(request, "send")
        if not await desk.threads.run(_cancel, desk, key, requests.message_id(id)):
            raise Problem(409, "too late: it is on its way, or settled")
        return problems.answer(200, {"id": id, "state": State.CANCELLED.value})


# On a thread.


def _put_one(desk: Desk, key: Key, sent: bytes, idempotency_key: str | None) -> Receipt:
    try:
        message = models.MessageIn.model_validate_json(sent).message(idempotency_key)
    except ValidationError as error:
        raise problems.invalid(error) from None
    (receipt,) = _put(desk, key, [message], sent)
    if not isinstance(receipt, Receipt):
        raise receipt
    return receipt


def _put(desk: Desk, key: Key, messages: Sequence[Message], sent: bytes) -> list[Receipt | InputError]:
    for message in messages:
        desk.known_backend(message.backend)
    return desk.office.put_each(
        messages,
        scope=key.id,
        fingerprint=requests.fingerprint(sent) if messages and messages[0].idempotency_key else None,
        may_send_as=key.may_send_as,
    )


def _batch(sent: bytes) -> list[models.MessageIn | Problem]:
    """At once when all are right; else each by itself, to say which are not."""
    try:
        return list(models.BatchIn.model_validate_json(sent).messages)
    except ValidationError:
        pass
    try:
        return [_item(one) for one in models.LooseBatch.model_validate_json(sent).messages]
    except ValidationError as error:
        raise problems.invalid(error) from None


def _item(value: Any) -> models.MessageIn | Problem:
    try:
        return models.MessageIn.model_validate(value)
    except ValidationError as error:
        return problems.invalid(error)


def _put_batch(
    desk: Desk,
    key: Key,
    batch: Sequence[models.MessageIn | Problem],
    sent: bytes,
    idempotency_key: str | None,
) -> Response:
    """Each message has a key of its own, made of the request's."""
    messages = [
        one.message(None if idempotency_key is None else f"{idempotency_key}#{number}")
        for number, one in enumerate(batch)
        if isinstance(one, models.MessageIn)
    ]
    put = iter(_put(desk, key, messages, sent))
    done = [next(put) if isinstance(one, models.MessageIn) else one for one in batch]
    receipts = [one for one in done if isinstance(one, Receipt)]
    answer = {
        "accepted": len(receipts),
        "refused": len(done) - len(receipts),
        "results": [_result(one) for one in done],
    }
    if receipts:
        return problems.answer(202, answer, _headers(receipts))
    return problems.answer(422, Problem(422, "none of these messages is right").as_json() | answer)


def _headers(receipts: Sequence[Receipt]) -> dict[str, str]:
    return {} if any(one.created for one in receipts) else {"Idempotent-Replayed": "true"}


def _result(one: Receipt | MailerError | Problem) -> dict[str, Any]:
    if isinstance(one, Receipt):
        return {"status": 202, "id": one.id}
    problem = one if isinstance(one, Problem) else problems.of(one)
    return {"status": problem.status, "problem": problem.as_json()}


def _status(desk: Desk, key: Key, id_: str) -> Status:
    _theirs(desk, key, id_)
    return desk.office.status(id_)


def _cancel(desk: Desk, key: Key, id_: str) -> bool:
    _theirs(desk, key, id_)
    return desk.office.cancel(id_)


def _only(key: Key) -> str | None:
    """A key that is limited to senders sees what was handed over with it, and nothing else."""
    return key.id if key.senders and not key.may("admin") else None


def _theirs(desk: Desk, key: Key, id_: str) -> None:
    only = _only(key)
    if only is not None and desk.ledger.listing.owner(id_) != only:
        raise Problem(404, "there is no message of this id")
