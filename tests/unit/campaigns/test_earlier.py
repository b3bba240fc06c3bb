"""People of an earlier campaign, as recipients and as those who are left out."""

from __future__ import annotations

import json

import pytest

from mailer.campaigns.adding import add
from mailer.campaigns.loading import load
from mailer.campaigns.opening import match, open_campaign
from mailer.campaigns.preflight import check
from mailer.campaigns.prepared import prepare
from mailer.campaigns.updating import update
from mailer.errors import CampaignError, InputError, RecipientsError
from mailer.ledger.contract import CampaignState, NewCampaign
from tests.unit.campaigns.test_control_and_results import ACCEPTED, REJECTED, opened, settle


@pytest.fixture
def first(desk, ledger):
    """Five people: two accepted, one refused, two not sent; it is paused."""
    desk.people(5)
    campaign = opened(desk, ledger)
    settle(ledger, campaign, ACCEPTED, REJECTED, ACCEPTED)
    ledger.campaigns.pause(campaign.id, "by hand")
    return campaign


def prepared(desk, ledger_url, **overrides):
    spec = load(desk.folder / "campaign.toml", {"name": "Follow-up", **overrides})
    return prepare(
        spec, template_root=desk.folder / "templates", files_root=desk.folder, ledger_url=ledger_url
    )


def sent_to(desk, ledger, ledger_url, **overrides):
    with prepared(desk, ledger_url, **overrides) as ready:
        report = check(ready, processes=1, keep_rows=True)
        try:
            campaign = open_campaign(ledger, ready, report)
        finally:
            report.close()
    return campaign, [json.loads(row.cells) for row in ledger.results.rows(campaign.id)]


def names(cells):
    return [row["First Name"] for row in cells]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Name 1", "Name 2", "Name 3", "Name 4", "Name 5"]),
        ("?state=accepted", ["Name 1", "Name 3"]),
        ("?state=rejected,pending", ["Name 2", "Name 4", "Name 5"]),
        ("?state=accepted&state=rejected", ["Name 1", "Name 2", "Name 3"]),
    ],
)
def test_are_recipients_with_their_cells(desk, ledger, ledger_url, first, query, expected):
    campaign, cells = sent_to(desk, ledger, ledger_url, recipients=f"campaign:{first.slug}{query}")

    assert names(cells) == expected
    assert all(set(row) == {"email", "First Name"} for row in cells)
    assert campaign.id != first.id


def test_are_left_out(desk, ledger, ledger_url, first):
    desk.people(7)

    campaign, cells = sent_to(desk, ledger, ledger_url, exclude=[f"campaign:{first.slug}?state=accepted"])

    assert names(cells) == ["Name 2", "Name 4", "Name 5", "Name 6", "Name 7"]
    assert campaign.spec["recipients"]["exclude"] == [f"campaign:{first.slug}?state=accepted"]


def test_when_all_of_them_are_it_says_so(desk, ledger, ledger_url, first):
    with pytest.raises(CampaignError, match=r"no row can be sent; 5 are on an exclude list$"):
        sent_to(desk, ledger, ledger_url, exclude=[f"campaign:{first.slug}"])


def test_by_what_became_of_them_later(desk, ledger, ledger_url, first):
    with pytest.raises(RecipientsError, match="there are no recipients"):
        sent_to(desk, ledger, ledger_url, recipients=f"campaign:{first.slug}?outcome=bounced")


def test_the_same_question_is_the_same_campaign_whatever_the_answer_is_now(desk, ledger, ledger_url, first):
    wish = {"recipients": f"campaign:{first.slug}?state=accepted"}
    campaign, _ = sent_to(desk, ledger, ledger_url, **wish)
    ledger.campaigns.resume(first.id)
    settle(ledger, first, ACCEPTED)
    ledger.campaigns.pause(first.id, "by hand")

    with prepared(desk, ledger_url, **wish) as again:
        found = match(ledger, again)

    assert found.campaign is not None
    assert found.campaign.id == campaign.id


def test_states_that_still_change_are_no_list(desk, ledger, ledger_url, first):
    ledger.campaigns.resume(first.id)
    assert ledger.campaigns.by_id(first.id).state is CampaignState.RUNNING

    with pytest.raises(CampaignError, match="may still change"):
        sent_to(desk, ledger, ledger_url, recipients=f"campaign:{first.slug}?state=accepted")
    sent_to(desk, ledger, ledger_url, recipients=f"campaign:{first.slug}")


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ("campaign:?state=accepted", "which campaign"),
        ("campaign:nobody", "no campaign 'nobody'"),
        ("campaign:november?state=sent", "no state 'sent'; there are pending"),
        ("campaign:november?status=sent", "unknown 'status'"),
    ],
)
def test_what_cannot_be_understood_is_refused(desk, ledger, ledger_url, first, wish, complaint):
    with pytest.raises(InputError, match=complaint):
        sent_to(desk, ledger, ledger_url, recipients=wish)


def test_what_applications_hand_over_is_no_list(ledger, desk, ledger_url):
    shop = ledger.singles.campaign(NewCampaign("shop", "Shop", "d", {"letters": True}))
    new = desk.say("new.csv", "email\nada@example.org\n")

    with pytest.raises(CampaignError, match="shop has no list"):
        add(ledger, shop, new)
    with pytest.raises(CampaignError, match="shop has no list"):
        update(ledger, shop, template_root=desk.folder / "templates")
    with pytest.raises(CampaignError, match="shop has no list"):
        sent_to(desk, ledger, ledger_url, recipients="campaign:shop")
