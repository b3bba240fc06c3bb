"""A campaign through a provider's API, played by a fake."""

from __future__ import annotations

import csv
import io
import json
from contextlib import ExitStack

import pytest

from mailer import Mailer
from mailer.backends import SANDBOXES
from mailer.settings import Settings
from tests.contract.providers.fake import DROP, Response, serving
from tests.contract.providers.registry import ROLES
from tests.working import worker


def test_what_the_provider_cannot_express_is_refused_by_check_and_send(folder, stack: ExitStack):
    fake = stack.enter_context(serving(ROLES["brevo"].play))
    url = ROLES["brevo"].address(fake.base)

    for command in (("check", "campaign.toml"), ("send", "campaign.toml", "--yes")):
        done = folder.mailer(*command, "--backend", url)
        assert done.code == 2
        assert "Brevo cannot send text without HTML" in done.err
        assert "key0123" not in done.err
    assert fake.taken == []


def test_a_campaign_goes_out_in_batches_and_everybody_has_an_id(folder, stack: ExitStack):
    fake = stack.enter_context(serving(ROLES["postmark"].play))
    folder.people([f"person{n}@example.com,Person {n}" for n in range(1, 41)])
    folder.write(
        "mailer.toml", '[backends.main]\nurl = "postmark:"\nkey_file = "key"\noptions.base = "BASE"\n'
    )
    folder.write("mailer.toml", folder.read("mailer.toml").replace("BASE", fake.base))
    folder.write("key", "key0123456789abcdefX\n")

    done = folder.mailer("send", "campaign.toml", "--yes", "--json")

    assert done.code == 0, done.err
    assert done.json()["counts"]["accepted"] == 40
    assert len(fake.taken) == 40
    assert len(fake.sends) < 40
    table = folder.mailer("results", "campaign.toml", "--reference")
    rows = list(csv.DictReader(io.StringIO(table.out)))
    assert {row["mail_state"] for row in rows} == {"accepted"}
    assert len({row["mail_reference"] for row in rows}) == 40
    found = folder.mailer("find", rows[0]["email"])
    assert f"main calls it {rows[0]['mail_reference']}" in found.out
    assert all(row["mail_backend"] == "main" for row in rows)
    ids = [one["Metadata"] for request in fake.sends for one in request.json]  # what webhooks bring back
    assert sorted(f"<{one['message']}>" for one in ids) == sorted(row["mail_message_id"] for row in rows)
    assert {one["campaign"] for one in ids} == {done.json()["id"]}


def test_tags_and_metadata_of_a_message_go_along_and_columns_of_a_campaign_do_not(folder, stack: ExitStack):
    fake = stack.enter_context(serving(ROLES["postmark"].play))
    folder.write("mailer.toml", f'[backends.main]\nurl = "{ROLES["postmark"].address(fake.base)}"\n')
    folder.people(["ada@example.com,Ada,secret"], header="email,First Name,tags")
    wish = {"to": "bob@example.org", "sender": "a@acme.example", "subject": "Hello", "text": "How are you?"}

    assert folder.mailer("send", "campaign.toml", "--yes").code == 0
    with Mailer(Settings.load(folder.path)) as mailer:
        mailer.send(**wish, tags=["order"], metadata={"order": "7"})

    campaign, message = (one.json[0] for one in fake.sends)
    assert "secret" not in str(campaign)
    assert (message["Tag"], message["Metadata"]["order"]) == ("order", "7")


def test_a_bad_key_pauses_the_campaign_and_blames_nobody(folder, stack: ExitStack):
    fake = stack.enter_context(serving(ROLES["postmark"].play))
    url = ROLES["postmark"].address(fake.base, key="wrong-token")

    done = folder.mailer("send", "campaign.toml", "--yes", "--json", "--backend", url)

    assert done.code == 2
    assert "Postmark does not know this server token" in done.err
    assert fake.taken == []


def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_key(folder, stack: ExitStack):
    fake = stack.enter_context(serving(ROLES["resend"].play))
    url = ROLES["resend"].address(fake.base, "batch=1")
    folder.people(["ada@example.com,Ada"])
    # The empty message of the probe is not among them: it asks for the domains first.
    fake.script = [DROP, Response(429, {"name": "rate_limit_exceeded"}, {"retry-after": "0"})]

    done = folder.mailer("send", "campaign.toml", "--yes", "--json", "--backend", url)

    assert done.code == 0, done.err
    assert len(fake.sends) == 3
    assert len({(one.headers["idempotency-key"], one.body) for one in fake.sends}) == 1
    assert len(fake.taken) == 1


@pytest.mark.parametrize("scheme", SANDBOXES)
def test_nothing_leaves_a_test_mode(folder, stack: ExitStack, scheme):
    """Whatever a provider took, it took as its own test mode has it: one row to me, and a campaign."""
    role, took = ROLES[scheme], []

    def play(request):
        answer = role.play(request)
        took.extend([request] * len(answer.taken))
        return answer

    fake = stack.enter_context(serving(play))
    folder.people(["ada@example.com,Ada", "bob@example.com,Bob"])
    folder.write("templates/letter/body.html", "<p>Dear {{ first_name }}, hello.</p>")
    url = role.address(fake.base, "inbox=77" if scheme == "mailtrap" else "")
    url += "&batch=1" if "batch=1" in role.sandbox else ""
    for command, messages in (
        (("test", "campaign.toml", "--to", "me@acme.example"), 1),
        (("send", "campaign.toml", "--yes"), 2),
    ):
        done = folder.mailer(*command, "--sandbox", "--backend", url)

        assert done.code == 0, done.out + done.err
        assert len(took) == messages
        assert all(role.is_sandboxed(request) for request in took)
        took.clear()


def test_a_whole_campaign_in_a_test_mode_is_not_the_campaign(folder, stack: ExitStack):
    role = ROLES["sendgrid"]
    fake = stack.enter_context(serving(role.play))
    folder.write(
        "mailer.toml",
        f'backend = "all"\n[backends.main]\nurl = "{role.address(fake.base)}"\n'
        f'[backends.spare]\nurl = "{role.address(fake.base)}"\n[routes.all]\nbackends = ["main", "spare"]\n',
    )

    tried = folder.mailer("send", "campaign.toml", "--sandbox", "--yes")
    assert tried.code == 0, tried.err
    assert "Through      all?sandbox=true" in tried.out
    assert "Sandbox      the provider checks everything and delivers nothing" in tried.out
    assert "November news (sandbox): finished" in tried.out
    assert fake.sends
    assert all(role.is_sandboxed(request) for request in fake.sends)
    rows = list(csv.DictReader(io.StringIO(folder.mailer("results", "campaign.toml").out)))
    assert {row["mail_backend"] for row in rows} == {"main?sandbox=true"}

    fake.requests.clear()
    sent = folder.mailer("send", "campaign.toml", "--yes", "--json")
    assert sent.code == 0, sent.err
    assert sent.json()["name"] == "November news"
    assert sent.json()["counts"]["accepted"] == 5
    assert not any("mail_settings" in request.json for request in fake.sends)

    # It may be repeated, and stays in test mode when it goes on over another backend.
    again = folder.mailer("send", "campaign.toml", "--sandbox", "--yes", "--limit", "2")
    slug = again.out.partition("November news (sandbox): paused")[0].split()[-1]
    status = folder.mailer("status", "campaign.toml", "--json").json()
    assert status["id"] == sent.json()["id"]  # the file names the real one
    fake.requests.clear()
    gone_on = folder.mailer("resume", slug, "--backend", "spare")
    assert gone_on.code == 0, gone_on.err
    assert all(role.is_sandboxed(request) for request in fake.sends)
    assert fake.sends


def test_workers_too_send_a_campaign_in_a_test_mode(folder, stack: ExitStack, redis_server):
    role = ROLES["sendgrid"]
    fake = stack.enter_context(serving(role.play))
    folder.write(
        "mailer.toml",
        f'backend = "all"\nbroker = "{redis_server.url}"\n'
        f'[backends.main]\nurl = "{role.address(fake.base)}"\n'
        # Without the number of its inbox this one has no test mode, and nobody asks for it.
        '[backends.other]\nurl = "mailtrap://key0123456789@"\n[routes.all]\nbackends = ["main"]\n',
    )
    stack.enter_context(worker(folder.path))

    done = folder.mailer("enqueue", "campaign.toml", "--sandbox", "--yes", "--watch", "--json")
    status = json.loads(done.out.splitlines()[-1])
    again = folder.mailer("enqueue", "campaign.toml", "--sandbox", "--yes", "--json")
    missing = folder.mailer("enqueue", "campaign.toml", "--sandbox", "--yes", "--backend", "other")

    assert (done.code, again.code, missing.code) == (0, 0, 2), done.err + again.err
    assert status["name"] == "November news (sandbox)"
    assert status["counts"]["accepted"] == 5
    assert "the sandbox needs the number of its inbox" in missing.err
    assert fake.sends
    assert all(role.is_sandboxed(request) for request in fake.sends)


def test_a_backend_without_test_mode_is_refused_before_anything_is_opened(folder):
    done = folder.mailer("send", "campaign.toml", "--sandbox", "--yes", "--backend", "smtp://127.0.0.1:9")

    assert done.code == 2
    assert "it has no test mode; these have one: postmark," in done.err
    assert folder.mailer("status", "--json").out == ""


def test_a_template_at_the_provider_is_filled_with_the_columns_of_the_row(folder, stack: ExitStack):
    def play(request):
        if request.method == "GET":
            return Response(200, {"Name": "Acme"})
        return Response(
            200,
            [{"ErrorCode": 0, "Message": "OK", "MessageID": one["To"]} for one in request.json["Messages"]],
        )

    fake = stack.enter_context(serving(play))
    folder.people(['ada@example.com,Ada,"Loughborough, UK"'], "email,First Name,Ort")
    url = f"postmark://key0123456789abcdefX@?template=welcome&base={fake.base}"

    done = folder.mailer("send", "campaign.toml", "--yes", "--json", "--backend", url)

    assert done.code == 0, done.err
    tried = folder.mailer("test", "campaign.toml", "--to", "me@example.com", "--backend", url)
    assert tried.code == 0, tried.err
    assert [one.json["Messages"][0]["To"] for one in fake.sends] == ["ada@example.com", "me@example.com"]
    for one in fake.sends:
        (message,) = one.json["Messages"]
        assert message["TemplateAlias"] == "welcome"
        assert message["TemplateModel"] == {
            "email": "ada@example.com", "first_name": "Ada", "ort": "Loughborough, UK",
        }  # fmt: skip
        assert "TextBody" not in message

    refused = folder.mailer("check", "campaign.toml", "--backend", "resend://key0123456789abcdefX@?pool=news")
    assert refused.code == 2
    assert "Resend has no IP pools to choose from: leave out option 'pool'" in refused.err
