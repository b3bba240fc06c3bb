"""What every provider's backend promises, tried on each against a fake of its API."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mailer.backends import connect, urls
from mailer.backends.answers import Answer
from mailer.backends.contract import Standing
from mailer.backends.http import HttpBackend
from mailer.backends.http1 import _Line
from mailer.backends.provider import NOT_UNDERSTOOD, Letter, Provider
from mailer.errors import BackendUnusable
from mailer.message import Accepted, Blocked, Deferred, Fenced, Outgoing, Rejected, Unknown
from tests.contract.providers.fake import DROP, HANG, Fake, Recorded, Response, serving
from tests.contract.providers.letters import letter, rich
from tests.contract.providers.registry import ROLES
from tests.contract.providers.role import KEY, Role, Row
from tests.servers import PATIENCE, free_port, wait_until


@pytest.fixture(params=ROLES.values(), ids=ROLES)
def role(request) -> Role:
    return request.param


@pytest.fixture
def fake(role) -> Iterator[Fake]:
    with serving(role.play) as fake:
        yield fake


async def yes(message: Outgoing) -> bool:
    return True


def backend_of(role: Role, base: str, more: str = "", key: str = KEY) -> HttpBackend:
    backend = connect(urls.parse("main", role.address(base, more, key)))
    assert isinstance(backend, HttpBackend)
    return backend


async def send(role: Role, fake: Fake, *messages: Outgoing, more: str = "", mark=yes) -> list:
    backend = backend_of(role, fake.base, more)
    try:
        return list(await backend.send(messages, mark))
    finally:
        await backend.close()


def plain(role: Role, number: int = 1, **more) -> Outgoing:
    """The least that this provider takes."""
    return letter(number, **{**role.plain, **more})


async def test_a_message_with_everything_arrives(role, fake):
    message = rich(1, backend_of(role, fake.base).provider.facts.features)
    (outcome,) = await send(role, fake, message)

    assert isinstance(outcome, Accepted), outcome
    assert outcome.reference
    (taken,) = fake.taken
    people = " ".join(taken.recipients)
    assert all(recipient in people for recipient in message.recipients)
    assert taken.raw == b"" or taken.raw.endswith(message.data)
    if not taken.raw:
        assert taken.subject == "Grüße: 50 % off, “today”"
        several = backend_of(role, fake.base).provider.facts.features.reply_to > 1
        assert bool(re.search(rb"\Wb@acme\.example", fake.sends[0].body)) == several


async def test_a_hidden_recipient_stands_where_nobody_sees_it(role, fake):
    backend = backend_of(role, fake.base)
    facts, message = backend.provider.facts, plain(role, bcc=["hidden@example.net"])
    await backend.close()
    assert b"hidden" not in message.data  # so who takes that as it is tells nobody
    if facts.raw:
        return
    await send(role, fake, message)
    (request,) = fake.sends
    places = places_of("hidden@example.net", request.json)
    assert len(places) == 1
    assert "bcc" in [str(key).lower() for key in places[0]]


def places_of(text: str, value: object, path: tuple = ()) -> list[tuple]:
    """Where this text stands in JSON, as keys and positions."""
    if isinstance(value, str):
        return [path] if text in value else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in pairs for place in places_of(text, one, (*path, key))]


ANSWERS = [
    pytest.param(role, row, id=f"{role.scheme}-{row.name}") for role in ROLES.values() for row in role.rows
]


def dated(text: str) -> str:
    """``now+3000`` as Unix time; the rows are older than the moment when one is tried."""
    base, _, seconds = text.partition("now+")
    return text if base or not seconds else str(int(time.time()) + int(seconds))


#: Answers without a word for people. Of the others it is shown, taken out of the JSON that holds it.
SPEECHLESS = {("azure", "canceled"), ("postal", "done-with-500")}


@pytest.mark.parametrize(("role", "row"), ANSWERS)
async def test_every_documented_answer_has_its_meaning(role: Role, row: Row, fake):
    headers = {name: dated(text) for name, text in row.headers.items()}
    fake.script = [Response(row.status, row.body, headers)]
    (outcome,) = await send(role, fake, plain(role))

    expected = Unknown if row.outcome is type(None) else row.outcome
    assert isinstance(outcome, expected), outcome
    if isinstance(outcome, Accepted):
        assert row.reference is None or outcome.reference == row.reference
        return
    assert outcome.reply.reason
    if not isinstance(outcome, Unknown) and (role.scheme, row.name) not in SPEECHLESS:
        assert not outcome.reply.text.startswith(("{", "[")), outcome
    assert getattr(outcome, "suppress", False) == row.suppress
    assert getattr(outcome, "slow_down", False) == row.slow_down
    if row.wait is not None:
        assert row.wait <= outcome.retry_after <= row.wait + 110


def reason_of(provider: Provider, row: Row) -> str:
    """What people are told of this answer."""
    headers = {name.lower(): dated(text) for name, text in row.headers.items()}
    text = row.body if isinstance(row.body, str) else json.dumps(row.body)
    answer, letters = Answer(row.status, headers, text), [Letter(letter())]
    try:
        outcomes = provider.read(answer, letters)
    except NOT_UNDERSTOOD:
        outcomes = None
    outcome = outcomes[0] if outcomes else provider.said(answer).verdict(provider.facts.rules)
    return outcome.reply.reason


def test_no_rule_is_without_an_answer_that_it_is_for(role):
    """A rule that no documented answer reaches is dead, or hidden by one before it."""
    provider = backend_of(role, "https://api.example.com").provider
    reached = {reason_of(provider, row) for row in role.rows}
    assert [rule.reason for rule in provider.facts.rules if rule.reason not in reached] == []


#: What may come from a proxy or a gateway in front of any provider.
ELSEWHERE = [
    (200, "<html>hello</html>", {}, (Unknown, Blocked, Accepted)),
    (200, [], {}, (Unknown,)),
    (302, "", {"Location": "https://example.org"}, (Blocked,)),
    (429, "<html>slow down</html>", {"Retry-After": "7"}, (Deferred,)),
    (502, "<html>bad gateway</html>", {}, (Unknown,)),
    (503, "<html>not now</html>", {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, (Deferred,)),
    (504, "<html>timeout</html>", {}, (Unknown,)),
    (407, "<html>proxy login</html>", {}, (Blocked,)),
]


@pytest.mark.parametrize(("status", "body", "headers", "expected"), ELSEWHERE)
async def test_answers_that_no_provider_gives(role, fake, status, body, headers, expected):
    fake.script = [Response(status, body, headers)]
    (outcome,) = await send(role, fake, plain(role))

    assert isinstance(outcome, expected), outcome
    if status == 429:
        assert outcome.slow_down
        assert outcome.retry_after >= 7.0
    if status == 503:
        assert outcome.retry_after == 86_400.0
    if status in (407, 429, 503):  # in whose words it was refused
        assert outcome.reply.text == body


def test_a_gateway_that_lost_the_answer_says_nothing_of_the_message(role):
    """52x are Cloudflare's, which stands in front of several: with 521, 523 and 525 nothing got through."""
    backend = backend_of(role, "https://api.example.com")
    for statuses, expected in (((502, 504, 520, 522, 524, 598, 599), Unknown), ((521, 523, 525), Deferred)):
        for status in statuses:
            verdict = backend._judged(Answer(status, {}, "<html>error</html>"))
            assert isinstance(verdict, expected), status


@pytest.fixture
def one_timeout(fake, monkeypatch) -> list[float]:
    """Of all waiting for answers only the first ends early: as soon as the fake has that request. Its list
    says after how many seconds it was to end."""
    wait, ended = _Line._wait, []

    def as_soon_as_it_is_there(line: _Line, seconds: float | None) -> None:
        if seconds is not None:
            first = not ended
            ended.append(seconds)
            if first:
                wait_until(lambda: fake.requests, "the request has arrived")
            seconds = 0.01 if first else PATIENCE
        wait(line, seconds)

    monkeypatch.setattr(_Line, "_wait", as_soon_as_it_is_there)
    return ended


@pytest.mark.parametrize("accident", [DROP, HANG])
async def test_lost_after_the_request_is_unknown_and_repeated_only_under_a_key(
    role, fake, accident, one_timeout
):
    fake.script = [accident]
    (outcome,) = await send(role, fake, plain(role), more="timeout=7")

    assert one_timeout[0] == 7.0

    if backend_of(role, fake.base).provider.facts.key_seconds:
        assert isinstance(outcome, Accepted)
        first, second = fake.sends
        assert (first.body, first.target) == (second.body, second.target)
        keys = [key_of(request) for request in fake.sends]
        assert keys[0] == keys[1]
        assert keys[0]
    else:
        assert isinstance(outcome, Unknown)
        assert len(fake.sends) == 1


def key_of(request: Recorded) -> str | None:
    """Brevo's is in the body."""
    own = request.headers.get("idempotency-key")
    if own or not request.headers["content-type"].startswith("application/json"):
        return own
    return request.json["headers"]["idempotencyKey"] if "headers" in request.json else None


#: Those whose batches have a result per message.
WITH_RESULTS = ("postmark", "resend", "mailtrap", "mailjet")


@pytest.mark.parametrize("role", [ROLES[scheme] for scheme in WITH_RESULTS], ids=WITH_RESULTS)
async def test_fewer_results_than_messages_leave_all_of_them_unknown(role, fake):
    def one_is_missing(request: Recorded) -> Response:
        answer = role.play(request)
        body = answer.body if isinstance(answer.body, list) else next(filter(_is_list, answer.body.values()))
        body.pop()
        return answer

    fake.play = one_is_missing
    outcomes = await send(role, fake, *(plain(role, number) for number in (1, 2, 3)))

    assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
    assert len(fake.sends) == 1


@pytest.mark.parametrize("role", [ROLES[scheme] for scheme in WITH_RESULTS], ids=WITH_RESULTS)
async def test_a_result_that_makes_no_sense_leaves_the_others_alone(role, fake):
    def one_is_odd(request: Recorded) -> Response:
        answer = role.play(request)
        body = answer.body if isinstance(answer.body, list) else next(filter(_is_list, answer.body.values()))
        body[1] = {"message": "what?"}
        return answer

    fake.play = one_is_odd
    outcomes = await send(role, fake, *(plain(role, number) for number in (1, 2, 3)))

    assert [type(outcome) for outcome in outcomes] == [Accepted, Unknown, Accepted]
    assert "what?" not in repr(outcomes[0])
    assert len(fake.sends) == 1


BAD_TO = {"index": 1, "message": "Invalid `to` field."}
#: Of three messages the second is refused. Resend's data may have a hole for it, or none.
PARTLY = [
    ("resend", {"data": [{"id": "a"}, {"id": "c"}], "errors": [BAD_TO]}),
    ("resend", {"data": [{"id": "a"}, None, {"id": "c"}], "errors": [BAD_TO]}),
    (
        "postmark",
        [
            {"ErrorCode": 0, "Message": "OK", "MessageID": "a"},
            {"ErrorCode": 406, "Message": "Found inactive addresses: r2@example.org."},
            {"ErrorCode": 0, "Message": "OK", "MessageID": "c"},
        ],
    ),
    (
        "mailtrap",
        {
            "success": False,
            "responses": [
                {"success": True, "message_ids": ["a"]},
                {"success": False, "errors": ["'to' address is invalid"]},
                {"success": True, "message_ids": ["c"]},
            ],
        },
    ),
    (
        "mailjet",
        {
            "Messages": [
                {"Status": "success", "To": [{"MessageID": "a"}]},
                {
                    "Status": "error",
                    "Errors": [
                        {
                            "ErrorCode": "mj-0013",
                            "StatusCode": 400,
                            "ErrorMessage": "is invalid",
                            "ErrorRelatedTo": ["To[0].Email"],
                        }
                    ],
                },
                {"Status": "success", "To": [{"MessageID": "c"}]},
            ]
        },
    ),
]


@pytest.mark.parametrize(("scheme", "body"), PARTLY)
def test_each_result_is_its_own_messages(scheme, body):
    role = ROLES[scheme]
    letters = [Letter(plain(role, number)) for number in (1, 2, 3)]
    outcomes = backend_of(role, "https://api.example.com").provider.read(
        Answer(200, {}, json.dumps(body)), letters
    )
    assert outcomes is not None
    first, second, third = outcomes
    assert isinstance(first, Accepted)
    assert isinstance(third, Accepted)
    assert (first.reference, third.reference) == ("a", "c")
    assert isinstance(second, Rejected)
    assert second.suppress


def _is_list(value: object) -> bool:
    return isinstance(value, list)


@pytest.mark.parametrize("role", [ROLES["resend"]], ids=["resend"])
async def test_a_lost_batch_is_repeated_under_its_own_key(role, fake):
    fake.script = [DROP]
    outcomes = await send(role, fake, *(plain(role, number) for number in (1, 2, 3)))
    await send(role, fake, *(plain(role, number) for number in (1, 2)))

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
    first, second, other = fake.sends
    assert (first.body, key_of(first)) == (second.body, key_of(second))
    assert key_of(first)
    assert key_of(other) != key_of(first)  # another batch is another request


KEYED = ("resend", "nylas", "brevo", "sparkpost")
#: What is said at the door, before anybody looks at the key.
AT_THE_DOOR = (401, 402, 403, 408, 409, 421, 425, 429, 500, 503)


@pytest.mark.parametrize("role", [ROLES[scheme] for scheme in KEYED], ids=KEYED)
async def test_who_is_turned_away_when_asking_again_knows_nothing_of_the_first_try(role, fake):
    """As deferred, it would go out a second time once the key is forgotten."""
    for number, status in enumerate(AT_THE_DOOR, 1):
        fake.script = [DROP, Response(status)]
        (outcome,) = await send(role, fake, plain(role, number))
        assert isinstance(outcome, Unknown), status
        assert str(status) in outcome.reply.text
    fake.script = [DROP, Response(422)]  # the same octets: so the first was refused, too
    (outcome,) = await send(role, fake, plain(role, 99))
    assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("role", [ROLES["resend"]], ids=["resend"])
@pytest.mark.parametrize("name", ["invalid_idempotent_request", "concurrent_idempotent_requests"])
async def test_a_batch_whose_key_is_known_is_not_sent_under_another(role, fake, name):
    fake.script = [Response(409, {"statusCode": 409, "name": name, "message": "said so"})]
    outcomes = await send(role, fake, *(plain(role, number) for number in (1, 2, 3)))
    assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
    assert len(fake.sends) == 1
    assert outcomes[0].reply.reason


async def test_lost_twice_is_unknown(role, fake):
    fake.script = [DROP, DROP]
    (outcome,) = await send(role, fake, plain(role))
    assert isinstance(outcome, Unknown)


async def test_nobody_there_is_unsent(role):
    backend = backend_of(role, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BackendUnusable) as caught:
        await backend.send([plain(role), plain(role, 2)], yes)
    await backend.close()
    assert not caught.value.lasting


async def test_a_batch_is_cut_at_the_providers_limit(role, fake):
    backend = backend_of(role, fake.base)
    limit = backend.provider.facts.batch
    batch = [plain(role, number) for number in range(2 * limit + 1 if limit > 1 else 3)]
    outcomes = await backend.send(batch, yes)
    await backend.close()

    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert len(fake.taken) == len(batch)
    assert len(fake.sends) == 3
    if role.ids:
        assert len({outcome.reference for outcome in outcomes}) == len(batch)


BATCHED = ("sendgrid", *WITH_RESULTS)


@pytest.mark.parametrize("role", [ROLES[scheme] for scheme in BATCHED], ids=BATCHED)
async def test_one_bad_message_does_not_hurt_the_others(role, fake):
    """A provider that refuses a whole request for one message is asked again without it."""

    def strict(request: Recorded) -> Response:
        return Response(400, {"message": "no"}) if b"bad@example.org" in request.body else role.play(request)

    fake.play = strict
    batch = [plain(role, number, to="bad@example.org" if number == 5 else "") for number in range(9)]
    outcomes = await send(role, fake, *batch)
    assert [type(outcome) for outcome in outcomes] == [Rejected if n == 5 else Accepted for n in range(9)]
    assert sorted(one.subject for one in fake.taken) == [f"number {n}" for n in range(9) if n != 5]


#: What they say of an address, without saying whether it is the row's own or that of a copy.
OF_SOMEBODY = {
    "azure": Response(400, {"error": {"code": "BadRequest", "message": "Invalid recipient address"}}),
    "mailgun": Response(400, {"message": "to parameter is not a valid address. please check"}),
    "sparkpost": Response(422, {"errors": [{"message": "invalid recipient address", "code": "1300"}]}),
}


@pytest.mark.parametrize("role", [ROLES[scheme] for scheme in OF_SOMEBODY], ids=OF_SOMEBODY)
async def test_an_address_is_not_suppressed_for_what_may_be_a_copys(role, fake):
    fake.script = [OF_SOMEBODY[role.scheme]] * 2
    alone, copied = (
        await send(role, fake, plain(role)),
        await send(role, fake, plain(role, cc=["c@example.net"])),
    )
    assert [alone[0].suppress, copied[0].suppress] == [True, False]


async def test_a_fenced_message_is_in_no_request(role, fake):
    async def mark(message: Outgoing) -> bool:
        await asyncio.sleep(0)
        return message.id != 2

    outcomes = await send(role, fake, *(plain(role, number) for number in (1, 2, 3)), mark=mark)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Fenced, Accepted]
    assert not any(b"r2@example.org" in request.body for request in fake.sends)


async def test_the_envelope_decides_who_gets_it(role, fake):
    """``[safety] redirect_to`` changes the envelope and leaves the headers."""
    message = plain(role, cc=["Charles <c@example.net>"])
    message.recipients = ("staging@acme.example",)
    (outcome,) = await send(role, fake, message)
    assert isinstance(outcome, Accepted), outcome
    (taken,) = fake.taken
    assert [one for one in taken.recipients if "staging@acme.example" not in one] == []


#: What a provider that takes MIME may still not be able to do.
OF_THE_ENVELOPE = {"before the @-sign", "an envelope sender", "Bcc"}


async def test_what_cannot_be_expressed_is_refused_by_name_and_not_sent(role, fake):
    backend = backend_of(role, fake.base)
    facts, title = backend.provider.facts, backend.provider.facts.title
    features = facts.features
    html = dict(role.plain)
    impossible = {
        "before the @-sign": letter(to="ü@example.org", **html) if not features.utf8_local else None,
        "text without HTML": letter(**{**html, "html": None, "text": "x"})
        if not features.text_only
        else None,
        "a name beside": letter() if not features.sender_name else None,
        "a custom header beyond": letter(more={"X-A": "ä"}, **html) if features.ascii_headers else None,
        "a text part beside": letter() if not features.both_bodies else None,
        "inline images": letter(image=True, **html) if not features.inline else None,
        "attachments": letter(file=True, **html) if not features.attachments else None,
        "the header X-A": letter(more={"X-A": "b"}, **html) if features.headers is None else None,
        "Reply-To": letter(reply_to=["a@b.example", "c@b.example"], **html)
        if features.reply_to < 2
        else None,
        "Bcc": letter(bcc=["hidden@example.net"], **html) if not features.bcc else None,
        "an envelope sender": bounced(html) if not features.return_path else None,
    }
    for words, message in impossible.items():
        if message is None or (facts.raw and words not in OF_THE_ENVELOPE):
            continue
        (complaint,) = backend.complaints(message)
        assert complaint.startswith(f"{title} cannot send ")
        assert words in complaint
        (outcome,) = await backend.send([message], yes)
        assert isinstance(outcome, Rejected)
        assert outcome.reply.text == complaint
    await backend.close()
    assert fake.sends == []


def bounced(html: dict) -> Outgoing:
    message = letter(**html)
    message.sender = "bounces@acme.example"
    return message


async def test_headers_that_the_provider_writes_itself_are_refused(role):
    backend = backend_of(role, "https://example.org")
    for name in backend.provider.facts.features.headers or ():
        if name.startswith(("x-", "list-", "precedence")):
            message = plain(role, more={name.title(): "value"})
            assert name in " ".join(backend.complaints(message)).lower()
    await backend.close()


async def test_the_test_mode_is_the_providers_own(role, fake):
    if not role.sandbox:
        with pytest.raises(Exception, match="has no test mode"):
            backend_of(role, fake.base, "sandbox=true")
        return
    (outcome,) = await send(role, fake, plain(role), more=role.sandbox)
    assert isinstance(outcome, Accepted), outcome
    assert role.is_sandboxed(fake.sends[0])
    backend = backend_of(role, fake.base, role.sandbox)
    assert "key valid" in await backend.probe()
    await backend.close()


#: Whose API does not say which domains may be sent from, and what is said instead.
SILENT = {
    "postmark": "its domains cannot be asked with this key, but with the account's: account_token_file",
    "nylas": "it has no domain to verify",
    "azure": "no key is told its domains: see the portal, and `mailer doctor --domain NAME` for their DNS",
    "postal": "its domains are asked by name: `mailer doctor --domain NAME`",
}


async def test_a_probe_says_that_the_key_works_or_does_not(role, fake):
    good, bad = backend_of(role, fake.base), backend_of(role, fake.base, key="wrongkey01234567")
    answer = await good.probe()
    with pytest.raises(BackendUnusable) as caught:
        await bad.probe()
    await good.close()
    await bad.close()

    assert answer.startswith(f"{good.provider.facts.title}: key valid")
    assert answer.endswith(SILENT[role.scheme]) if role.scheme in SILENT else "acme.example" in answer
    assert caught.value.lasting
    assert fake.taken == []


async def test_postmark_is_asked_with_the_accounts_token(tmp_path):
    file = tmp_path / "token"
    file.write_text("account-token-1\n")
    with serving(ROLES["postmark"].play) as fake:
        backend = backend_of(ROLES["postmark"], fake.base, f"account_token_file={file}")
        told = await backend.probe()
        file.write_text("server-token")
        other = backend_of(ROLES["postmark"], fake.base, f"account_token_file={file}")
        refused = await other.probe()
        await backend.close()
        await other.close()
    assert told == "Postmark: key valid; server 'Acme'; acme.example not verified"
    assert refused == "Postmark: key valid; server 'Acme'; its domains cannot be asked with this key (401)"


#: Answers to the question for Netcore's domains, whose form is nowhere told, and what is said then.
UNTOLD = "what it says of its domains cannot be understood: see its console"
LISTS = [
    ([{"domain": "a.example", "status": 1}, {"name": "b.example", "status": "new"}],
     "a.example is 1 there, b.example is 'new' there"),
    ({"data": {"domains": [{"domain": "a.example", "status": "active"}]}}, "a.example is 'active' there"),
    ({"data": [{"domain": "a.example"}]}, UNTOLD),
    ({"data": [], "message": "none"}, UNTOLD),
    ({"message": "no such call"}, UNTOLD),
    ({"a": [{"domain": "a.example", "status": "x"}], "b": [{"domain": "b.example", "status": "x"}]}, UNTOLD),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words"), LISTS)
async def test_a_list_of_domains_is_told_in_the_provider_s_own_words(body, words):
    role = ROLES["netcore"]

    def play(request: Recorded) -> Response:
        asked = request.method == "GET" and request.headers["api_key"] == KEY
        return Response(200, body) if asked else Response(400, {"message": "from is missing"})

    with serving(play) as fake:
        backend = backend_of(role, fake.base, "version=v6")
        told = await backend.probe()
        await backend.close()
    assert told == f"Netcore: key valid; {words}"
    assert "verified" not in told


async def test_a_domain_is_asked_by_name_with_a_message_to_nobody_at_postal_alone(role, fake):
    good, bad = backend_of(role, fake.base), backend_of(role, fake.base, key="wrongkey01234567")
    if role.scheme != "postal":
        assert await good.standing("acme.example") is None
        return
    for asked, name, expected in (
        (good, "acme.example", Standing(True, "Postal sends from it")),
        (good, "other.example", Standing(False, "Postal refuses to send from it")),
        (bad, "acme.example", Standing(None, "Postal does not say whether mail may be sent from it")),
    ):
        assert await asked.standing(name) == expected
    assert [request.json["rcpt_to"] for request in fake.sends] == [[], [], []]
    fake.play = lambda request: Response(200, {"status": "success", "data": {"messages": {"x": {"id": 1}}}})
    assert (await good.standing("acme.example")).good is None
    fake.play = lambda request: DROP
    assert await good.standing("acme.example") == Standing(
        None, "Postal could not be asked about it just now"
    )
    await good.close()
    await bad.close()


#: What asks for domains apart from the key, and for which a fault there proves nothing about the key.
APART = ("mailtrap", "ses", "netcore")


@pytest.mark.parametrize("scheme", APART)
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response(403, {"message": "no"}), "its domains cannot be asked with this key (403)"),
        (Response(200, "<html>"), "what it says of its domains cannot be understood: see its console"),
        (Response(200, []), "what it says of its domains cannot be understood: see its console"),
        (DROP, "its domains could not be asked just now"),
    ],
)
async def test_a_key_is_valid_also_if_it_may_not_ask_for_domains(scheme, answer, words):
    role = ROLES[scheme]

    def play(request: Recorded) -> Any:
        return answer if re.search("accounts|identities|getDomains", request.path) else role.play(request)

    with serving(play) as fake:
        backend = backend_of(role, fake.base)
        told = await backend.probe()
        await backend.close()
    assert told.startswith(f"{backend.provider.facts.title}: key valid; ")
    assert told.endswith(words)


#: Keys that may send and nothing else are told by what is missing in an empty message, or by a call for all.
SENDING = {
    "resend": "POST /emails",
    "sendgrid": "GET /v3/scopes",
    "mailgun": "POST /v3/mg.acme.example/messages",
    "brevo": "GET /account",
    "mailersend": "POST /email",
    "sparkpost": "POST /transmissions",
    "mandrill": "POST /users/ping2.json",
}


@pytest.mark.parametrize("scheme", SENDING)
async def test_a_key_that_may_only_send_is_valid_and_tells_no_domains(scheme):
    role = ROLES[scheme]
    empty = {"resend": 422, "mailersend": 422, "sparkpost": 422, "mailgun": 400}
    fine = {"sendgrid": {"scopes": ["mail.send"]}, "mandrill": {"PING": "PONG!"}, "brevo": {"plan": []}}

    def play(request: Recorded) -> Response:
        if "domains" in request.path:
            return Response(403, {"message": "not allowed"})
        return Response(empty.get(scheme, 200), fine.get(scheme, {"message": "'from' is missing"}))

    with serving(play) as fake:
        backend = backend_of(role, fake.base)
        told = await backend.probe()
        await backend.close()
    assert f"{fake.requests[-1].method} {fake.requests[-1].path}" == SENDING[scheme]
    assert told.startswith(f"{backend.provider.facts.title}: key valid; ")
    assert told.endswith("its domains cannot be asked with this key")


def test_mailtrap_is_asked_where_it_answers():
    provider = connect(urls.parse("main", f"mailtrap://{KEY}@")).provider
    step = provider.domains([])
    assert (step.base, step.path) == ("https://mailtrap.io", "/api/accounts")


async def test_of_many_domains_a_few_are_named():
    role = ROLES["ses"]
    many = [{"IdentityName": f"d{n}.example", "VerificationStatus": "SUCCESS"} for n in range(25)]

    def play(request: Recorded) -> Response:
        asked = request.path.endswith("identities")
        return Response(200, {"EmailIdentities": many}) if asked else role.play(request)

    with serving(play) as fake:
        backend = backend_of(role, fake.base)
        told = await backend.probe()
        await backend.close()
    assert told.endswith("d19.example verified, and 5 more")


async def test_a_key_never_shows(role, fake, caplog):
    caplog.set_level(logging.DEBUG)
    backend = backend_of(role, fake.base)
    echo = {"message": f"key {KEY} is bad", "errors": [f"key {KEY}"], "name": KEY}
    fake.script = [Response(400, echo), Response(500, f"key {KEY}"), DROP, DROP]
    outcomes = [(await backend.send([plain(role, number)], yes))[0] for number in (1, 2, 3)]
    await backend.close()

    seen = " ".join([caplog.text, repr(outcomes), repr(vars(backend)), repr(backend.provider), repr(backend)])
    assert KEY not in seen
    assert all(request.headers["user-agent"].startswith("mailer-worker/") for request in fake.requests)


async def test_the_same_message_is_the_same_request(role, fake):
    await send(role, fake, plain(role))
    await send(role, fake, plain(role))
    first, second = fake.sends
    assert first.body == second.body
    assert first.headers.get("idempotency-key") == second.headers.get("idempotency-key")


async def test_after_closing_nothing_is_sent(role, fake):
    backend = backend_of(role, fake.base)
    await backend.close()
    await backend.close()
    with pytest.raises(BackendUnusable, match="closed"):
        await backend.send([plain(role)], yes)


def test_the_tables_can_be_written_as_json(role):
    """A row that no wire could carry would test nothing."""
    for row in role.rows:
        assert json.loads(json.dumps(row.body)) == row.body
