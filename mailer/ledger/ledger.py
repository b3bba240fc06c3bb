"""The ledger as one object: its rooms over one database."""

from __future__ import annotations

from mailer.ledger.backends import Backends
from mailer.ledger.blobs import Blobs
from mailer.ledger.buckets import Buckets
from mailer.ledger.campaigns import Campaigns
from mailer.ledger.database import Database
from mailer.ledger.events import Events
from mailer.ledger.handover import Handover
from mailer.ledger.keys import Keys
from mailer.ledger.listing import Listing
from mailer.ledger.pruning import Pruning
from mailer.ledger.results import Results
from mailer.ledger.runs import Runs
from mailer.ledger.schedule import Schedule
from mailer.ledger.singles import Singles
from mailer.ledger.slices import Slices
from mailer.ledger.suppressions import Suppressions
from mailer.ledger.workers import Workers


class Ledger:
    """Synchronous, and safe for threads. On an event loop use ``writer.GroupCommit``."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.slices = Slices(database)
        self.runs = Runs(database)
        self.schedule = Schedule(database)
        self.campaigns = Campaigns(database)
        self.results = Results(database)
        self.blobs = Blobs(database)
        self.singles = Singles(database)
        self.listing = Listing(database)
        self.keys = Keys(database)
        self.handover = Handover(database)
        self.suppressions = Suppressions(database)
        self.buckets = Buckets(database)
        self.backends = Backends(database)
        self.events = Events(database)
        self.pruning = Pruning(database)
        self.workers = Workers(database)

    def close(self) -> None:
        """Close its connections and files. Used again, it opens them again."""
        self.database.close()
