"""Opening is idempotent: whatever was killed or repeated, every row is in once (I6)."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest

from mailer.campaigns.loading import from_options
from mailer.campaigns.opening import match, open_campaign
from mailer.campaigns.preflight import check
from mailer.campaigns.prepared import prepare
from mailer.content.snapshot import unpack
from mailer.errors import CampaignError, RecipientsError, StateConflict
from mailer.ledger.contract import CampaignState, Runner, Settlement
from mailer.message import State


def opened(desk, ledger, overrides=None, **options):
    with desk.prepared(overrides) as prepared:
        report = check(prepared, processes=1, keep_rows=True)
        try:
            return open_campaign(ledger, prepared, report, **options)
        finally:
            report.close()


def addresses(ledger, campaign):
    return [result.address for result in ledger.results.rows(campaign.id)]


def finish(ledger, campaign):
    """Give up every row, so that the campaign is over."""
    ids = ledger.schedule.due(campaign.id, None, 10_000)
    claimed = ledger.slices.claim(ids, "test", 60)
    ledger.slices.settle(
        [Settlement(row.id, claimed.fence, State.ACCEPTED, code=250) for row in claimed.rows]
    )
    ledger.slices.close([claimed.fence])
    assert ledger.schedule.finish(campaign.id)


def test_what_the_engine_needs_is_in_the_campaign(desk, ledger):
    desk.say("list.csv", "email,First Name\nbad,x\nann@example.com,Ann\n")
    desk.say("terms.txt", "terms")
    desk.say(
        "campaign.toml",
        f'{desk.campaign}attachments = ["terms.txt"]\nrate = "5/s"\nretry_budget = "2h"\nexpires_in = "1d"\n'
        'on_unknown = "retry"\npriority = 5\nrecipients_per_task = 7\n',
    )

    campaign = opened(desk, ledger, backend="main", runner=Runner.WORKERS)

    assert re.fullmatch(r"november-newsletter-[0-9a-f]{4}", campaign.slug)
    assert (campaign.state, campaign.total, campaign.invalid_rows) == (CampaignState.RUNNING, 1, 1)
    assert (campaign.backend, campaign.runner, campaign.priority) == ("main", Runner.WORKERS, 5)
    spec = campaign.spec
    assert spec["mail"]["sender"] == "Acme News <news@acme.example>"
    assert (spec["rates"], spec["retry"], spec["expires_in"]) == (
        ["5/s"],
        {"budget_seconds": 7200.0},
        86400.0,
    )
    assert (spec["on_unknown"], spec["recipients_per_task"]) == ("retry", 7)
    assert spec["files_root"] == str(desk.folder)
    assert spec["recipients"]["headers"] == ["email", "First Name"]
    package, mail = unpack(spec["package"], ledger.blobs.get)
    assert package.shared == {"terms.txt": b"terms"}
    assert mail.subject == "Hello {{ first_name }}"
    (row,) = ledger.results.rows(campaign.id)
    assert (row.line, json.loads(row.cells)) == (3, {"email": "ann@example.com", "First Name": "Ann"})


def test_the_same_again_is_the_same_campaign(desk, ledger):
    first = opened(desk, ledger)
    again = opened(desk, ledger, {"rate": "1/s", "backend": "other", "priority": 9})

    assert again.id == first.id
    assert addresses(ledger, first) == [f"user{n}@example.com" for n in (1, 2, 3)]
    with desk.prepared() as prepared:
        assert match(ledger, prepared).complete


@pytest.mark.parametrize("change", ["list", "template", "layout", "subject", "name", "exclude", "attachment"])
def test_anything_that_changes_what_is_sent_makes_another_campaign(desk, ledger, change):
    desk.say("gone.csv", "email\nuser3@example.com\n")
    desk.say("terms.txt", "terms")
    desk.say("templates/_layouts/base.html", "{% block body %}{% endblock %}")
    desk.say("campaign.toml", f'{desk.campaign}attachments = "terms.txt"\nexclude = "gone.csv"\n')
    first = opened(desk, ledger)
    overrides = {}
    if change == "list":
        desk.people(4)
    elif change == "template":
        desk.say("templates/news/body.txt", "Good morning {{ first_name }}\n")
    elif change == "layout":
        desk.say("templates/_layouts/base.html", "<b>{% block body %}{% endblock %}</b>")
    elif change == "exclude":
        desk.say("gone.csv", "email\nuser2@example.com\n")
    elif change == "attachment":
        desk.say("terms.txt", "other terms")
    else:
        overrides = {change: "Something else"}

    assert opened(desk, ledger, overrides).id != first.id


def test_a_finished_campaign_is_sent_again_only_on_purpose(desk, ledger):
    first = opened(desk, ledger)
    finish(ledger, first)

    with pytest.raises(StateConflict, match=rf"was already sent on .* as {first.slug}.*use --again"):
        opened(desk, ledger)
    second = opened(desk, ledger, again=True)

    assert second.id != first.id
    assert second.slug != first.slug
    assert addresses(ledger, second) == addresses(ledger, first)
    # The repetition is a campaign like any other: found again while it runs, refused when it is over.
    assert opened(desk, ledger).id == second.id
    assert opened(desk, ledger, again=True).id == second.id
    finish(ledger, second)
    with pytest.raises(StateConflict, match=second.slug):
        opened(desk, ledger)
    assert opened(desk, ledger, again=True).id not in {first.id, second.id}


def test_a_cancelled_campaign_is_not_opened_again_by_mistake(desk, ledger):
    first = opened(desk, ledger)
    ledger.campaigns.cancel(first.id)

    with pytest.raises(StateConflict, match="was already cancelled on"):
        opened(desk, ledger)
    assert opened(desk, ledger, again=True).id != first.id


def test_an_opening_that_was_killed_is_completed(desk, ledger, ledger_url):
    """The process dies after some of the rows are in the ledger; the same command opens the rest."""
    desk.people(12_000)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from mailer.campaigns.opening import open_campaign\n"
        "from mailer.campaigns.prepared import prepare\n"
        "from mailer.campaigns.preflight import check\n"
        "from mailer.campaigns.loading import load\n"
        "from mailer.ledger import open_ledger\n"
        "class Dying:\n"
        "    def __init__(self, rows): self.rows = rows\n"
        "    def __iter__(self):\n"
        "        for number, row in enumerate(self.rows):\n"
        "            if number == 7_000: os._exit(137)\n"
        "            yield row\n"
        "ledger = open_ledger(sys.argv[3])\n"
        "with prepare(load(Path(sys.argv[1])), template_root=Path(sys.argv[2])) as prepared:\n"
        "    report = check(prepared, keep_rows=True)\n"
        "    report.spool = Dying(report.spool)\n"
        "    open_campaign(ledger, prepared, report)\n"
    )
    arguments = [str(desk.folder / "campaign.toml"), str(desk.folder / "templates"), ledger_url]
    died = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert died.returncode == 137, died.stderr
    (half,) = ledger.campaigns.list()
    assert half.state is CampaignState.OPENING
    assert 0 < ledger.campaigns.max_ordinal(half.id) < 12_000

    campaign = opened(desk, ledger)

    assert (campaign.id, campaign.state, campaign.total) == (half.id, CampaignState.RUNNING, 12_000)
    assert addresses(ledger, campaign) == [f"user{n}@example.com" for n in range(1, 12_001)]


def test_standard_input_is_kept_until_it_is_hashed(desk, ledger):
    def from_stdin(text):
        spec = from_options({"recipients": "-", "template": "news", "from": "a@b.example", "subject": "x"})
        root = desk.folder / "templates"
        with prepare(spec, template_root=root, stdin=io.BytesIO(text)) as prepared:
            report = check(prepared, processes=1, keep_rows=True, invalid_file=desk.folder / "bad.csv")
            try:
                return open_campaign(ledger, prepared, report)
            finally:
                report.close()

    people = b"email,First Name\nann@example.com,Ann\n"

    assert from_stdin(people).id == from_stdin(people).id
    assert from_stdin(people + b"bob@example.com,Bob\n").id != from_stdin(people).id
    with pytest.raises(RecipientsError, match="standard input is empty"):
        from_stdin(b"")


def test_nobody_to_send_to(desk, ledger):
    desk.say("list.csv", "email,First Name\nbad,x\n")

    with pytest.raises(CampaignError, match=r"no row can be sent; 1 are in .*campaign\.invalid\.csv"):
        opened(desk, ledger)
    assert ledger.campaigns.list() == []


def test_missing_recipients_are_named(desk):
    (desk.folder / "list.csv").unlink()
    with pytest.raises(CampaignError, match=r"campaign\.toml: there is no recipients file"), desk.prepared():
        pass


def test_rows_without_a_check(desk, ledger):
    desk.say("list.csv", "email,First Name\nbad,x\nann@example.com,Ann\n")
    with desk.prepared() as prepared:
        campaign = open_campaign(ledger, prepared)

    assert (campaign.total, campaign.invalid_rows) == (1, 1)


def test_names_stay_apart(desk, ledger):
    slugs = {opened(desk, ledger, {"name": f"{text}!"}).slug for text in ("Ünï Cødé", "日本", "x" * 150)}

    prefixes = {slug.rpartition("-")[0] for slug in slugs}
    assert prefixes == {"uni-code", "campaign", "x" * 48}
