"""What somebody has to be told of campaigns, kept until it was told."""

from __future__ import annotations

from sqlalchemy import func, select, update

from mailer.ledger.contract import Campaign, Event, Runner
from mailer.ledger.database import Database
from mailer.ledger.reading import campaigns_where
from mailer.ledger.schema import campaign

#: Older events are no news: whoever asks to be told from now on does not hear of last year.
NEWS_SECONDS = 86_400.0

_AT = func.coalesce(campaign.c.halted_since, campaign.c.finished_at)


class Events:
    """One per campaign: the latest. A person who resumes or cancels it takes it away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def untold(self, runner: Runner) -> list[tuple[Campaign, Event]]:
        """Those of the last day, oldest campaign first."""
        news = (
            campaign.c.event.is_not(None),
            campaign.c.runner == runner.value,
            self._database.clock() - NEWS_SECONDS < _AT,
        )
        with self._database.read() as connection:
            rows = connection.execute(select(campaign.c.id, campaign.c.event).where(*news))
            events: dict[int, str] = dict(tuple(row) for row in rows)
            found = campaigns_where(connection, campaign.c.id.in_(list(events))) if events else []
        return [(one, Event(events[one.id])) for one in found]

    def told(self, campaign_id: int, event: Event) -> None:
        """Unless something else has happened meanwhile, there is no more to tell."""
        with self._database.write() as tx:
            this = (campaign.c.id == campaign_id, campaign.c.event == event.value)
            tx.execute(update(campaign).where(*this).values(event=None))
