"""What is known of a campaign under way, and what can be done to it."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest

from mailer.campaigns import control
from mailer.campaigns.adding import add
from mailer.campaigns.opening import open_campaign
from mailer.campaigns.preflight import check
from mailer.campaigns.results import COLUMNS, export, lines, reasons
from mailer.content.composer import compile_mail
from mailer.content.snapshot import unpack
from mailer.delivery.compositions import composition
from mailer.errors import CampaignError, InputError, RecipientsError, StateConflict
from mailer.ledger.contract import CampaignState, Settlement
from mailer.message import State

STATES = (
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
)


def opened(desk, ledger, **overrides):
    with desk.prepared(overrides) as prepared:
        report = check(prepared, processes=1, keep_rows=True)
        try:
            return open_campaign(ledger, prepared, report)
        finally:
            report.close()


def settle(ledger, campaign, *outcomes):
    """Give the first due rows these (state, fields)."""
    ids = ledger.schedule.due(campaign.id, None, len(outcomes))
    claimed = ledger.slices.claim(ids, "test", 60)
    ledger.slices.mark([(row.id, claimed.fence) for row in claimed.rows])
    ledger.slices.settle(
        [
            Settlement(row.id, claimed.fence, state, **fields)
            for row, (state, fields) in zip(claimed.rows, outcomes, strict=True)
        ]
    )
    ledger.slices.close([claimed.fence])


ACCEPTED = (State.ACCEPTED, {"code": 250, "reply": "2.0.0 queued", "backend": "main", "reference": "x1"})
REJECTED = (
    State.REJECTED,
    {"code": 550, "enhanced": "5.1.1", "reply": "no such user", "reason": "unknown mailbox"},
)
UNKNOWN = (State.UNKNOWN, {"reason": "no answer came"})


# Status and commands.


def test_the_status_object(desk, ledger):
    desk.say("list.csv", "email,First Name\nbad,x\na@example.com,A\nb@example.com,B\nc@example.com,C\n")
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED, REJECTED)

    told = control.status(ledger, ledger.campaigns.by_id(campaign.id))

    assert list(told) == [
        "id",
        "name",
        "state",
        "total",
        "counts",
        "outcomes",
        "invalid_rows",
        "started_at",
        "finished_at",
    ]
    assert (told["id"], told["name"], told["state"]) == (campaign.slug, "November newsletter", "running")
    assert (told["total"], told["invalid_rows"], told["finished_at"]) == (3, 1, None)
    assert told["counts"] == {**dict.fromkeys(STATES, 0), "accepted": 1, "rejected": 1, "pending": 1}
    assert list(told["counts"]) == list(STATES)
    assert told["outcomes"] == {"delivered": 0, "bounced": 0, "complained": 0}
    assert told["started_at"].endswith("+00:00")
    json.dumps(told)


def test_pause_resume_and_cancel_are_exact(desk, ledger):
    desk.people(10)
    campaign = opened(desk, ledger)
    held = ledger.slices.claim(ledger.schedule.due(campaign.id, None, 4), "test", 60)
    ledger.slices.mark([(row.id, held.fence) for row in held.rows[:3]])

    paused = control.pause(ledger, campaign)
    assert (paused.campaign.state, paused.in_flight) == (CampaignState.PAUSED, 3)
    assert ledger.slices.mark([(held.rows[3].id, held.fence)]) == [False]  # it is held, and cannot go
    assert paused.campaign.reason == "paused by a person"
    resumed = control.resume(ledger, campaign)
    assert resumed.campaign.state is CampaignState.RUNNING
    cancelled = control.cancel(ledger, campaign)
    assert (cancelled.campaign.state, cancelled.rows, cancelled.in_flight) == (CampaignState.CANCELLED, 7, 3)

    ledger.slices.settle([Settlement(row.id, held.fence, State.ACCEPTED) for row in held.rows[:3]])
    ledger.slices.settle([Settlement(held.rows[3].id, held.fence, State.PENDING, spent=False)])
    counts = control.status(ledger, campaign)["counts"]
    assert (counts["accepted"], counts["cancelled"]) == (3, 7)


def test_retry_brings_back_the_rows_in_that_state(desk, ledger):
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED, REJECTED, UNKNOWN)
    assert ledger.schedule.finish(campaign.id)

    change = control.retry(ledger, campaign, [State.UNKNOWN, State.FAILED])

    assert (change.rows, change.campaign.state) == (1, CampaignState.RUNNING)
    counts = control.status(ledger, change.campaign)["counts"]
    assert (counts["pending"], counts["accepted"], counts["rejected"]) == (1, 1, 1)


def test_a_campaign_is_found_by_its_id_the_beginning_of_it_and_its_file(desk, ledger, monkeypatch):
    first = opened(desk, ledger)
    desk.people(5)
    second = opened(desk, ledger)
    monkeypatch.chdir(desk.folder)

    assert control.find(ledger, first.slug).id == first.id
    beginnings = [second.slug[:length] for length in range(1, len(second.slug))]
    its_own = next((one for one in beginnings if not first.slug.startswith(one)), second.slug)
    assert control.find(ledger, its_own).id == second.id
    assert control.find(ledger, "campaign.toml").id == second.id
    assert control.find(ledger, str(desk.folder / "templates" / ".." / "campaign.toml")).id == second.id
    with pytest.raises(InputError, match=first.slug):
        control.find(ledger, "november")
    with pytest.raises(CampaignError, match="no campaign was opened from this file"):
        control.find(ledger, "other.toml")


def test_watching_ends_with_the_campaign(desk, ledger):
    campaign = opened(desk, ledger)
    told = []

    def sleep(seconds):
        settle(ledger, campaign, ACCEPTED, ACCEPTED, ACCEPTED)
        assert ledger.schedule.finish(campaign.id)

    last = control.watch(ledger, campaign, told.append, sleep=sleep)

    assert last.state is CampaignState.FINISHED
    assert [one["counts"]["accepted"] for one in told] == [0, 3]


def test_the_history_of_an_address(desk, ledger):
    campaign = opened(desk, ledger)
    settle(ledger, campaign, (State.DEFERRED, {"code": 451, "reply": "later", "due_at": time.time()}))
    settle(ledger, campaign, ACCEPTED)

    (told,) = control.history(ledger, "USER1@example.com")

    assert (told["campaign"], told["address"], told["state"]) == (
        campaign.slug,
        "user1@example.com",
        "accepted",
    )
    assert (told["code"], told["reply"]) == (250, "2.0.0 queued")
    assert [(one["number"], one["state"], one["code"]) for one in told["attempts"]] == [(1, "deferred", 451)]
    assert told["message_id"].endswith("@acme.example>")
    json.dumps(told)
    assert list(control.history(ledger, "nobody@example.com")) == []


# Results.


def exported(ledger, campaign, **options):
    out = io.StringIO(newline="")
    count = export(ledger, campaign, out, **options)
    return count, out.getvalue()


def test_results_are_the_input_and_what_became_of_it(desk, ledger):
    desk.say(
        "list.csv", 'E-mail;First Name\na@example.com;"Zoë ""Z"""\nbad;x\nb@example.com;B\nc@example.com;C\n'
    )
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED, REJECTED)

    count, text = exported(ledger, campaign)

    assert count == 3
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == ("E-mail", "First Name", *COLUMNS)
    first, second, third = rows
    assert (first["E-mail"], first["First Name"], first["mail_state"]) == (
        "a@example.com",
        'Zoë "Z"',
        "accepted",
    )
    assert (first["mail_attempts"], first["mail_code"], first["mail_reply"]) == ("1", "250", "2.0.0 queued")
    assert (first["mail_backend"], first["mail_outcome"]) == ("main", "")
    assert first["mail_at"].endswith("+00:00")
    assert (second["mail_state"], second["mail_reason"]) == ("rejected", "unknown mailbox")
    assert (third["mail_state"], third["mail_attempts"], third["mail_at"]) == ("pending", "0", "")
    assert len({row["mail_message_id"] for row in rows}) == 3


def test_the_message_id_is_the_one_that_is_sent(desk, ledger):
    campaign = opened(desk, ledger)
    package, mail = unpack(campaign.spec["package"], ledger.blobs.get)
    delivery = composition(campaign, mail, compile_mail(package, mail))
    claimed = ledger.slices.claim(ledger.schedule.due(campaign.id, None, 3), "test", 60)
    sent = [delivery.compose(row, claimed.fence).message_id for row in claimed.rows]

    _, text = exported(ledger, campaign, format="jsonl")

    assert [json.loads(line)["mail_message_id"] for line in text.splitlines()] == sent


def test_json_lines_hold_values(desk, ledger):
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED)

    _, text = exported(ledger, campaign, format="jsonl")

    first, second, _ = map(json.loads, text.splitlines())
    assert (first["mail_code"], first["mail_attempts"], first["mail_outcome"]) == (250, 1, None)
    assert (second["mail_code"], second["mail_state"]) == (None, "pending")
    assert list(first) == ["email", "First Name", *COLUMNS]


def test_a_provider_s_own_id_is_shown_to_who_asks(desk, ledger):
    campaign = opened(desk, ledger)
    settle(ledger, campaign, (State.ACCEPTED, {"code": 202, "reference": "=id-1"}))

    _, table = exported(ledger, campaign, reference=True)
    _, plain = exported(ledger, campaign)

    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["mail_reference"] for row in rows] == ["'=id-1", "", ""]
    assert "id-1" not in plain
    (told,) = control.history(ledger, "user1@example.com")
    assert told["reference"] == "=id-1"


def test_only_some_states(desk, ledger):
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED, REJECTED)

    assert exported(ledger, campaign, states=["rejected", "unknown"])[0] == 1
    with pytest.raises(InputError, match="unknown state 'bounced', expected one of: pending, claimed"):
        exported(ledger, campaign, states=["bounced"])
    with pytest.raises(InputError, match="unknown format 'xls', expected one of: csv, jsonl"):
        exported(ledger, campaign, format="xls")


def test_reasons_are_told_by_number_and_of_no_single_row(desk, ledger):
    desk.people(7)
    campaign = opened(desk, ledger)
    lost = [(State.FAILED, {"reason": f"'invoices/{n}.pdf' changed"}) for n in range(3)]
    settle(ledger, campaign, ACCEPTED, UNKNOWN, REJECTED, REJECTED, *lost)

    told = [(one.rows, one.state, one.code, one.enhanced, one.reason) for one in reasons(ledger, campaign)]

    assert told == [
        (3, State.FAILED, None, None, "'…' changed"),
        (2, State.REJECTED, 550, "5.1.1", "unknown mailbox"),
        (1, State.UNKNOWN, None, None, "no answer came"),
    ]


def test_a_spreadsheet_runs_nothing_of_it(desk, ledger):
    desk.say(
        "list.csv",
        'email,First Name,=H\na@example.com,=1+1,+49\nb@example.com,@x,-5\nc@example.com,Cy,"\t=1"\n',
    )
    campaign = opened(desk, ledger)

    _, guarded = exported(ledger, campaign)
    _, raw = exported(ledger, campaign, formula_guard=False)

    header, *rows = csv.reader(io.StringIO(guarded, newline=""))
    assert header[:3] == ["email", "First Name", "'=H"]
    assert [row[1:3] for row in rows] == [["'=1+1", "'+49"], ["'@x", "'-5"], ["Cy", "'\t=1"]]
    assert [row[1:3] for row in csv.reader(io.StringIO(raw, newline=""))][1] == ["=1+1", "+49"]


def test_a_file_of_results_is_private_and_complete_or_not_there(desk, ledger):
    campaign = opened(desk, ledger)
    target = desk.folder / "out.csv"

    assert export(ledger, campaign, target) == 3
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="unknown state"):
        export(ledger, campaign, desk.folder / "no.csv", states=["x"])
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        export(ledger, campaign, desk.folder / "none" / "out.csv")
    assert sorted(path.name for path in desk.folder.glob("*.csv*")) == ["list.csv", "out.csv"]


# Adding.


def test_corrected_rows_go_in(desk, ledger):
    desk.say("list.csv", "email,First Name\na@example.com,A\nbad,Bea\nalso bad,Cy\n")
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED)
    assert ledger.schedule.finish(campaign.id)
    invalid = desk.folder / "campaign.invalid.csv"
    invalid.write_text(invalid.read_text().replace(",bad,", ",bea@example.com,"))

    added = add(ledger, campaign, invalid)

    assert (added.rows, added.invalid, added.campaign.state) == (1, 1, CampaignState.RUNNING)
    assert added.invalid_file == desk.folder / "campaign.still-invalid.csv"
    assert invalid.exists()
    rows = list(ledger.results.rows(campaign.id))
    assert [row.address for row in rows] == ["a@example.com", "bea@example.com"]
    assert json.loads(rows[1].cells) == {"email": "bea@example.com", "First Name": "Bea"}
    assert control.status(ledger, added.campaign)["total"] == 2
    assert control.status(ledger, added.campaign)["invalid_rows"] == 1
    # Once more: everything is there already.
    assert (add(ledger, added.campaign, invalid).rows, len(list(ledger.results.rows(campaign.id)))) == (0, 2)


def test_new_rows_keep_to_what_is_unique(desk, ledger):
    desk.say("list.csv", "email,First Name,no\na@example.com,A,1\nb@example.com,B,2\n")
    campaign = opened(desk, ledger, unique=["email", "no"])
    new = desk.say(
        "new.csv", "no,email,First Name\n1,A@example.com,A\n3,a@example.com,A\n2,c@example.com,C\n"
    )

    added = add(ledger, campaign, new)

    assert (added.rows, added.report.duplicates) == (2, 1)
    assert added.report.first_invalid[0].reason == "duplicate of line 2"


def test_new_rows_keep_to_a_unique_column_that_is_not_the_address(desk, ledger):
    desk.say("list.csv", "email,First Name,no\na@example.com,A,1\n")
    campaign = opened(desk, ledger, unique="no")
    new = desk.say("new.csv", "email,First Name,no\nz@example.com,Z,1\na@example.com,A,2\n")

    added = add(ledger, campaign, new)

    assert (added.rows, added.report.duplicates) == (1, 1)


def test_many_new_rows_are_compared_with_the_whole_campaign(desk, ledger):
    desk.people(30)
    campaign = opened(desk, ledger)
    desk.people(60)

    added = add(ledger, campaign, desk.folder / "list.csv")

    assert (added.rows, added.report.duplicates) == (30, 30)


def test_without_unique_everything_is_added(desk, ledger):
    campaign = opened(desk, ledger, unique="false")

    assert add(ledger, campaign, desk.folder / "list.csv").rows == 3


def test_added_rows_are_rendered_with_the_campaigns_own_template(desk, ledger):
    campaign = opened(desk, ledger)
    desk.say("templates/news/body.txt", "changed {{ nonsense }}")

    assert add(ledger, campaign, desk.say("new.csv", "email,First Name\nz@example.com,Z\n")).rows == 1


def test_other_columns_are_refused(desk, ledger):
    campaign = opened(desk, ledger)
    new = desk.say("new.csv", "email,Vorname\nz@example.com,Z\n")

    with pytest.raises(RecipientsError, match="not the columns of this campaign") as caught:
        add(ledger, campaign, new)
    assert caught.value.hint == "missing: 'First Name'; not in the campaign: 'Vorname'"


def test_nothing_is_added_to_a_cancelled_campaign(desk, ledger):
    campaign = control.cancel(ledger, opened(desk, ledger)).campaign

    with pytest.raises(StateConflict, match="was cancelled: nothing can be added to it"):
        add(ledger, campaign, desk.folder / "list.csv")


def test_results_that_are_pruned_while_they_are_written_do_not_look_complete(desk, ledger, monkeypatch):
    monkeypatch.setattr("mailer.ledger.results.PAGE", 2)
    desk.people(5)
    campaign = opened(desk, ledger)
    ledger.campaigns.cancel(campaign.id)
    written = lines(ledger, campaign)
    next(written)
    ledger.pruning.prune(campaign.id)

    with pytest.raises(InputError, match="were removed by `mailer prune`"):
        list(written)
