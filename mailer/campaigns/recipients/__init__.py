"""From a file to recipients: ``recipients.open(RecipientSource(path))``. Start at contract.py."""

from mailer.campaigns.recipients.contract import (
    Chunk,
    Entry,
    Examined,
    Invalid,
    Limits,
    Recipient,
    RecipientSource,
    Tally,
)
from mailer.campaigns.recipients.header import Columns
from mailer.campaigns.recipients.reader import Reader
from mailer.campaigns.recipients.reader import open_source as open  # noqa: A004 - as in gzip.open
from mailer.campaigns.recipients.rejects import InvalidWriter
from mailer.campaigns.recipients.rows import Examiner
from mailer.campaigns.recipients.sieve import Sieve
from mailer.campaigns.recipients.spool import spool

__all__ = [
    "Chunk",
    "Columns",
    "Entry",
    "Examined",
    "Examiner",
    "Invalid",
    "InvalidWriter",
    "Limits",
    "Reader",
    "Recipient",
    "RecipientSource",
    "Sieve",
    "Tally",
    "open",
    "spool",
]
