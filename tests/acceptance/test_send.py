"""``mailer send``: from a list and a template to mail that a server accepted."""

from __future__ import annotations

import csv
import email
import email.policy
import io
import json
import signal
from contextlib import closing
from datetime import datetime

import pytest

from mailer.ledger import open_ledger
from tests.forked import command
from tests.servers import wait_until

STATES = {
    "pending",
    "claimed",
    "sending",
    "accepted",
    "deferred",
    "rejected",
    "failed",
    "unknown",
    "suppressed",
    "cancelled",
    "expired",
}


def results(folder, *arguments):
    done = folder.mailer("results", "campaign.toml", *arguments)
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_everybody_gets_the_rendered_mail_once(folder, mailer_sink):
    sink = mailer_sink()

    done = folder.send(sink)

    assert done.code == 0, done.err
    assert sorted(sink.recipients()) == [f"person{n}@example.com" for n in range(1, 6)]
    first = email.message_from_bytes(sink.messages()[0].data, policy=email.policy.default)
    number = first["To"].removeprefix("person").removesuffix("@example.com")
    assert first["Subject"] == f"Person {number}, your November"
    assert first.get_content().replace("\r\n", "\n") == f"Dear Person {number},\n\nhello.\n"


def test_the_last_line_is_the_status_object(folder, mailer_sink):
    status = folder.send(mailer_sink()).json()

    assert set(status) == {
        "id", "name", "state", "total", "counts", "outcomes", "invalid_rows", "started_at", "finished_at",
    }  # fmt: skip
    assert set(status["counts"]) == STATES
    assert status["outcomes"] == {"delivered": 0, "bounced": 0, "complained": 0}
    assert (status["state"], status["total"], status["counts"]["accepted"]) == ("finished", 5, 5)
    assert status["id"].startswith("november-news-")


def test_status_of_one_and_of_all(folder, mailer_sink):
    sent = folder.send(mailer_sink()).json()

    assert folder.mailer("status", sent["id"][:11], "--json").json() == sent
    assert folder.mailer("status", "campaign.toml", "--json").json() == sent
    assert folder.mailer("status", "--json").json() == sent


def test_a_finished_campaign_is_sent_again_only_on_purpose(folder, mailer_sink):
    sink = mailer_sink()
    folder.send(sink)

    refused = folder.send(sink)
    again = folder.send(sink, "--again")

    assert refused.code == 2
    assert "already sent" in refused.err
    assert "--again" in refused.err
    assert again.code == 0
    assert sink.count() == 10


def test_results_have_the_input_columns_and_what_became_of_each(folder, mailer_sink):
    sink = mailer_sink(
        '[[rule]]\nat = "rcpt"\nmatch = "person2@*"\nreply = "550 5.1.1 No such mailbox"\n'
        '[[rule]]\nat = "rcpt"\nmatch = "person3@*"\nreply = "451 4.3.2 Not now"\ntimes = 1\n'
    )

    done = folder.send(sink)

    assert done.code == 1
    rows = {row["email"]: row for row in results(folder)}
    assert rows["person1@example.com"]["First Name"] == "Person 1"
    assert rows["person1@example.com"]["mail_state"] == "accepted"
    assert rows["person1@example.com"]["mail_message_id"].startswith("<")
    bad = rows["person2@example.com"]
    assert (bad["mail_state"], bad["mail_code"]) == ("rejected", "550")
    assert "No such mailbox" in bad["mail_reply"]
    assert (rows["person3@example.com"]["mail_state"], rows["person3@example.com"]["mail_attempts"]) == (
        "accepted",
        "2",
    )


def test_a_bad_address_is_suppressed_in_the_next_campaign(folder, mailer_sink):
    folder.send(
        mailer_sink('[[rule]]\nat = "rcpt"\nmatch = "person2@*"\nreply = "550 5.1.1 No such mailbox"\n')
    )
    sink = mailer_sink()

    status = folder.send(sink, "--again").json()

    assert status["counts"]["suppressed"] == 1
    assert "person2@example.com" not in sink.recipients()


def test_message_ids_in_the_results_are_those_that_arrived(folder, mailer_sink):
    sink = mailer_sink()
    folder.send(sink)

    arrived = {
        message.recipients[0]: email.message_from_bytes(message.data)["Message-ID"]
        for message in sink.messages()
    }

    assert {row["email"]: row["mail_message_id"] for row in results(folder)} == arrived


def test_invalid_rows_are_named_and_come_back_corrected(folder, mailer_sink):
    folder.people(["ada@example.com,Ada", "not an address,Bob", "ada@example.com,Ada", "eve@example.com,Eve"])
    sink = mailer_sink()

    sent = folder.send(sink)

    assert sent.code == 1
    assert sent.json()["invalid_rows"] == 2
    invalid = list(csv.DictReader(io.StringIO(folder.read("campaign.invalid.csv"))))
    assert [row["line"] for row in invalid] == ["3", "4"]
    assert "duplicate of line 2" in invalid[1]["reason"]
    assert (folder.path / "campaign.invalid.csv").stat().st_mode & 0o777 == 0o600
    corrected = folder.read("campaign.invalid.csv").replace("not an address", "bob@example.com")
    folder.write("corrected.csv", corrected)

    added = folder.mailer("add", sent.json()["id"], "corrected.csv")
    assert "1 recipient added" in added.out, added.err
    resumed = folder.mailer("resume", sent.json()["id"], "--backend", sink.url, "--json")

    assert resumed.json()["counts"]["accepted"] == 3
    assert resumed.json()["invalid_rows"] == 1  # the duplicate
    assert sorted(sink.recipients()) == ["ada@example.com", "bob@example.com", "eve@example.com"]


def test_limit_sends_so_many_and_pauses(folder, mailer_sink):
    sink = mailer_sink()

    part = folder.send(sink, "--limit", "2")
    assert part.json()["state"] == "paused"
    assert sink.count() == 2
    rest = folder.send(sink)

    assert rest.json()["state"] == "finished"
    assert sorted(sink.recipients()) == [f"person{n}@example.com" for n in range(1, 6)]


def test_recipients_from_standard_input(folder, mailer_sink):
    sink = mailer_sink()
    arguments = ("send", "campaign.toml", "--to", "-", "--backend", sink.url, "--json")

    refused = folder.mailer(*arguments, stdin=b"email,First Name\nx@example.com,X\n")
    done = folder.mailer(*arguments, "--yes", stdin=b"email,First Name\nx@example.com,X\n")

    assert refused.code == 2
    assert "--yes" in refused.err
    assert done.code == 0, done.err
    assert sink.recipients() == ["x@example.com"]


def test_a_campaign_without_a_file(folder, mailer_sink):
    sink = mailer_sink()

    done = folder.mailer(
        "send", "--to", "people.csv", "--template", "letter", "--from", "Acme <a@acme.example>",
        "--subject", "Hello {{ first_name }}", "--backend", sink.url, "--yes", "--json",
    )  # fmt: skip

    assert done.code == 0, done.err
    assert sink.count() == 5


def test_two_processes_send_everything_once(folder, mailer_sink):
    people = [f"p{n}@example.com,P" for n in range(700)]
    folder.people(people)
    sink = mailer_sink()

    done = folder.send(sink, "--processes", "2")

    assert done.json()["counts"]["accepted"] == 700, done.err
    assert sorted(sink.recipients()) == sorted(row.split(",")[0] for row in people)


def test_redirect_sends_everything_to_one_address(folder, mailer_sink):
    folder.write("mailer.toml", '[safety]\nredirect_to = "me@acme.example"\n')
    sink = mailer_sink()

    folder.send(sink)

    assert sink.recipients() == ["me@acme.example"] * 5


def test_nothing_leaves_for_an_address_that_is_not_allowed(folder, mailer_sink):
    folder.write("mailer.toml", '[safety]\nallow_recipients = ["person1@*"]\n')
    sink = mailer_sink()

    done = folder.send(sink)

    assert sink.recipients() == ["person1@example.com"]
    assert done.json()["counts"]["failed"] == 4
    assert done.code == 1


def test_a_rate_is_kept(folder, mailer_sink):
    folder.people([f"p{n}@example.com,P" for n in range(12)])
    sink = mailer_sink()

    done = folder.send(sink, "--rate", "10/s")

    assert done.json()["counts"]["accepted"] == 12, done.err
    with closing(open_ledger(f"sqlite:///{folder.path}/mailer.db")) as ledger:
        (campaign,) = ledger.campaigns.list()
    last = max(datetime.fromisoformat(entry["at"]).timestamp() for entry in sink.index())
    # The 11th goes a second after the first, which may have been held up on its way, but not before this.
    assert last - campaign.started_at >= 1.0


def test_a_limit_that_lets_nothing_pass_for_long_ends_the_run(folder, mailer_sink):
    sink = mailer_sink()

    done = folder.send(sink, "--rate", "2/d", "--wait", "5s")

    assert done.code == 1
    assert "mailer resume" in done.err
    assert done.json()["counts"]["accepted"] == sink.count() == 2


def test_a_limit_of_as_many_as_there_are_finishes(folder, mailer_sink):
    assert folder.send(mailer_sink(), "--limit", "5").json()["state"] == "finished"


def test_cancel_is_for_good_and_retry_brings_back(folder, mailer_sink):
    sink = mailer_sink('[[rule]]\nat = "rcpt"\nmatch = "person2@*"\nreply = "550 5.7.100 Not today"\n')
    part = folder.send(mailer_sink(), "--limit", "1").json()
    assert folder.mailer("cancel", part["id"], "--yes").code == 0
    cancelled = folder.mailer("status", part["id"], "--json").json()
    assert (cancelled["state"], cancelled["counts"]["cancelled"]) == ("cancelled", 4)

    again = folder.send(sink, "--again").json()
    assert again["counts"]["rejected"] == 1, again
    told = folder.mailer("retry", again["id"], "--rejected")
    assert "1 recipient will be tried again" in told.out
    rest = folder.mailer("resume", again["id"], "--backend", mailer_sink().url, "--json").json()

    assert rest["counts"]["accepted"] == 5


def test_find_tells_the_history_of_an_address(folder, mailer_sink):
    folder.send(
        mailer_sink('[[rule]]\nat = "rcpt"\nmatch = "person3@*"\nreply = "451 4.3.2 Not now"\ntimes = 1\n')
    )

    found = folder.mailer("find", "PERSON3@example.com")

    assert found.code == 0
    assert "accepted" in found.out
    assert "451" in found.out
    assert folder.mailer("find", "nobody@example.com").code == 1


def test_a_copy_that_was_refused_is_told_though_the_message_went(folder, mailer_sink):
    sink = mailer_sink('[[rule]]\nat = "rcpt"\nmatch = "boss@*"\nreply = "550 5.1.1 No such boss"\n')

    sent = folder.send(sink, "--cc", "boss@acme.example", "--bcc", "archive@acme.example")

    assert sent.code == 0, sent.err
    assert sent.json()["counts"]["accepted"] == 5
    found = folder.mailer("find", "person3@example.com").out
    assert "the copy to boss@acme.example was refused: 550 No such boss" in found
    rows = folder.mailer("results", "campaign.toml", "--format", "jsonl").out.splitlines()
    reasons = {json.loads(row)["mail_reason"] for row in rows}
    assert reasons == {"copies were refused: boss@acme.example: 550 No such boss"}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_goes_on(folder, mailer_sink, sign):
    people = [f"p{n}@example.com,P" for n in range(400)]
    folder.people(people)
    slow, sink = mailer_sink(latency="100ms"), mailer_sink()
    # So slow that it does not end by itself before the signal is there.
    folder.write("mailer.toml", f'[backends.slow]\nurl = "{slow.url}"\nrate = "25/s"\n')
    process = folder.fork(command, "send", "campaign.toml", "--yes", "--json", "--backend", "slow")
    wait_until(lambda: slow.count() > 20 or not process.running, "sending")
    process.stop(sign)

    assert process.code == 130, folder.read("err")
    assert "mailer resume" in folder.read("err")
    status = json.loads(folder.read("out").splitlines()[-1])
    assert status["counts"]["claimed"] == status["counts"]["sending"] == status["counts"]["unknown"] == 0
    done = folder.send(sink)

    assert done.json()["counts"]["accepted"] == 400
    assert sorted(slow.recipients() + sink.recipients()) == sorted(row.split(",")[0] for row in people)


def test_pause_from_another_terminal(folder, mailer_sink):
    folder.people([f"p{n}@example.com,P" for n in range(1000)])
    sink = mailer_sink()
    # Slow enough that the other command is there long before the end.
    slowly = ("--rate", "20/s", "--backend", sink.url)
    process = folder.fork(command, "send", "campaign.toml", "--yes", "--json", *slowly)
    wait_until(lambda: sink.count() > 20 or not process.running, "sending")
    paused = folder.mailer("pause", "november-news", "--wait", "--json")
    at_pause = sink.count()

    assert paused.code == 0
    assert process.wait() == 1
    assert "paused" in folder.read("err")
    assert sink.count() == at_pause
    status = folder.mailer("status", "november-news", "--json").json()
    assert status["counts"]["accepted"] == at_pause
    assert status["counts"]["pending"] == 1000 - at_pause
