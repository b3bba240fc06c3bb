"""Opens a file as the table that its kind asks for."""

from __future__ import annotations

from mailer.campaigns.recipients.contract import RecipientSource, Table
from mailer.campaigns.recipients.kinds import TABBED, kind_of, name_of


def open_table(source: RecipientSource) -> Table:
    """Reads only what is needed to know the columns. Raises RecipientsError."""
    kind = kind_of(source.path, source.format)
    if kind == "jsonlines":
        from mailer.campaigns.recipients.jsonlines import JsonLinesTable

        return JsonLinesTable(source.path, source.encoding, source.limits)
    if kind == "workbook":
        from mailer.campaigns.recipients.workbook import WorkbookTable

        return WorkbookTable(source.path, source.limits)
    from mailer.campaigns.recipients.delimited import DelimitedTable

    delimiter = source.delimiter or ("\t" if name_of(source.path, source.format) in TABBED else None)
    return DelimitedTable(source.path, delimiter, source.encoding, source.limits)
