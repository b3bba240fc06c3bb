"""What runs for every row costs the same in a campaign of a million: SQLite is asked how it means to look."""

from __future__ import annotations

import pytest

from mailer.ledger import claiming, held, marking, recovering, results, schedule, settling, slices
from mailer.ledger.schema import message
from tests.ledgers import sqlite

BY_ID = "SEARCH message USING INTEGER PRIMARY KEY"
BY_TIME = "SEARCH message USING INDEX message_later (campaign_id=?"
BY_LANE = "SEARCH message USING INDEX message_due (campaign_id=? AND lane=? AND due_at"


@pytest.mark.parametrize(
    ("statement", "way"),
    [
        *((statement, BY_ID) for statement in (claiming._DUE, claiming._TAKE, marking._MARK)),
        *((statement, BY_ID) for statement in (held._HELD, settling._SETTLE.one, settling._GIVE_BACK.one)),
        *((statement, BY_ID) for statement in (recovering._LEFT, recovering._LOSE, slices._HELD)),
        *((statement, BY_ID) for statement in (schedule._FRESH, schedule._WAITING_FOR, results._PAGE)),
        *((statement, BY_TIME) for statement in (schedule._LATER, schedule._NEXT_DUE)),
        *((statement, BY_LANE) for statement in (schedule._LATER_IN_LANE, schedule._FRESH_IN_LANE)),
    ],
)
def test_rows_are_found_by_an_index_that_leads_to_them(tmp_path, statement, way):
    with sqlite(tmp_path) as book, book.ledger.database.write() as tx:
        prepared = book.ledger.database.prepared(statement)
        values = [None] * prepared.sql.count("?")
        steps = [row[3] for row in tx.cursor.execute(f"EXPLAIN QUERY PLAN {prepared.sql}", values)]

    about_rows = [step for step in steps if f" {message.name} " in step]
    assert [step for step in about_rows if not step.startswith(way)] == []
    assert about_rows
    assert not any("TEMP B-TREE" in step for step in steps)


def test_an_address_is_found_by_its_hash(tmp_path):
    with sqlite(tmp_path) as book, book.ledger.database.read() as connection:
        parameters = {"blocks": "[]", "hash": 0}
        explained = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {book.ledger.database.prepared(results._CANDIDATES).sql}",
            tuple(parameters.values()),
        )
        assert "SEARCH recipient USING INDEX recipient_address (<expr>=? AND address_hash=?)" in [
            row[3] for row in explained
        ]
