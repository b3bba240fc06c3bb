"""A paused campaign gets other content, and only those who wait get it."""

from __future__ import annotations

import csv
import io

import pytest

from mailer.campaigns import control
from mailer.campaigns.opening import match
from mailer.campaigns.results import export
from mailer.campaigns.updating import update
from mailer.content import compile as compile_mail
from mailer.content.snapshot import unpack
from mailer.errors import CampaignError, InputError, StateConflict
from tests.unit.campaigns.test_control_and_results import ACCEPTED, opened, settle


def corrected(desk, ledger, campaign, **changes):
    return update(
        ledger, ledger.campaigns.by_id(campaign.id), template_root=desk.folder / "templates", **changes
    )


def mail_of(ledger, campaign):
    """Compiled from what the ledger holds, as workers do it."""
    package, spec = unpack(ledger.campaigns.by_id(campaign.id).spec["package"], ledger.blobs.get)
    return compile_mail(package, spec), spec


def paused(desk, ledger):
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED)
    control.pause(ledger, campaign)
    return campaign


def test_those_who_wait_get_the_new_version_and_results_say_so(desk, ledger):
    campaign = paused(desk, ledger)
    desk.say("templates/news/body.txt", "Dear {{ first_name }}, sorry for the typo.\n")

    made = corrected(desk, ledger, campaign, changes={"subject": "Corrected: {{ first_name }}"})
    control.resume(ledger, made.campaign)
    settle(ledger, campaign, ACCEPTED, ACCEPTED)

    assert (made.rows, made.campaign.version) == (2, 2)
    composer, spec = mail_of(ledger, campaign)
    assert spec.subject == "Corrected: {{ first_name }}"
    assert (
        b"sorry for the typo"
        in composer.compose(
            {"email": "a@example.com", "First Name": "A"}, "a@example.com", identity(campaign)
        ).data
    )
    out = io.StringIO()
    export(ledger, ledger.campaigns.by_id(campaign.id), out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [row["mail_version"] for row in rows] == ["1", "2", "2"]
    assert len({row["mail_message_id"].partition("@")[2] for row in rows}) == 1


def identity(campaign):
    from mailer.campaigns.results import message_ids

    return message_ids(campaign).of(2)


def test_send_finds_it_again_after_the_file_was_changed(desk, ledger):
    campaign = paused(desk, ledger)
    desk.say("templates/news/body.txt", "Dear {{ first_name }}, sorry for the typo.\n")
    corrected(desk, ledger, campaign)

    with desk.prepared() as prepared:
        found = match(ledger, prepared)

    assert found.campaign is not None
    assert found.campaign.id == campaign.id


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("templates/news/body.txt", "Dear {{ last_name }}\n", "last_name"),
        ("templates/news/body.txt", "Dear {{ first_name\n", "line 1"),
        ("campaign.toml", None, "the sender's domain cannot change under way"),
    ],
)
def test_nothing_changes_when_it_cannot_be_sent_so(desk, ledger, file, text, complaint):
    campaign = paused(desk, ledger)
    before = ledger.campaigns.by_id(campaign.id)
    desk.say(file, text or desk.campaign.replace("acme.example", "other.example"))

    with pytest.raises(InputError, match=complaint):
        corrected(desk, ledger, campaign)

    assert ledger.campaigns.by_id(campaign.id) == before


def test_it_has_to_stand_still(desk, ledger):
    campaign = opened(desk, ledger)
    with pytest.raises(StateConflict, match=f"it is running; first: mailer pause {campaign.slug} --wait"):
        corrected(desk, ledger, campaign)
    ledger.slices.claim(ledger.schedule.due(campaign.id, None, 1), "test", 60)
    control.pause(ledger, campaign)

    with pytest.raises(StateConflict, match="1 of its messages are in flight"):
        corrected(desk, ledger, campaign)


def test_a_row_that_fails_alone_is_named(desk, ledger):
    desk.say("list.csv", "email,First Name\na@example.com,A\nb@example.com,\nc@example.com,C\n")
    campaign = paused(desk, ledger)
    desk.say("templates/news/body.txt", "Dear {{ first_name | date }}\n")

    with pytest.raises(CampaignError, match="nothing was changed: 1 of the rows"):
        corrected(desk, ledger, campaign)
