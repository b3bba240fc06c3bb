"""What is special about PostgreSQL: writers that really work at the same time, and connections that break."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from random import Random

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mailer.errors import ConfigError, LedgerBusy, LedgerError, StateConflict
from mailer.ledger import claiming, held, marking, migrate, open_ledger, results, revision, schedule, settling
from mailer.ledger.contract import CampaignState, NewCampaign, NewRow, Settlement
from mailer.ledger.ledger import Ledger
from mailer.ledger.postgres import Postgres
from mailer.ledger.rows import PAGE
from mailer.ledger.schema import metadata
from mailer.ledger.upgrade import HEAD
from mailer.ledger.writer import GroupCommit
from mailer.message import State
from tests.ledgers import Book, postgres_database, postgres_of_this_run
from tests.proxy import TcpProxy
from tests.servers import PATIENCE, postgres_server

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
ROWS = 60


@pytest.fixture
def url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture
def ledger(url) -> Iterator[Ledger]:
    with opened(url) as ledger:
        yield ledger


@contextmanager
def opened(url: str) -> Iterator[Ledger]:
    ledger = open_ledger(url)
    try:
        yield ledger
    finally:
        ledger.close()


def running(ledger: Ledger, rows: int = ROWS, name: str = "c") -> int:
    campaign = ledger.campaigns.create(NewCampaign(name, name, name, {}))
    ledger.campaigns.add_rows(campaign.id, map(Book.row, range(1, rows + 1)))
    return ledger.campaigns.opened(campaign.id, 0).id


def at_once(*work: Callable[[], None]) -> None:
    """Each on a thread of its own; raises what any of them raised."""
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result(PATIENCE)


class TestOpening:
    def test_by_several_processes_at_once(self):
        server = postgres_of_this_run()
        url = server.create("at-once")
        epochs = []

        def use() -> None:
            with opened(url) as ledger:
                epochs.append(ledger.schedule.raise_epoch())

        at_once(use, use, use)

        assert sorted(epochs) == [min(epochs) + n for n in range(3)]
        assert revision(url) == HEAD
        server.drop("at-once")

    def test_migrations_lead_to_the_tables_of_the_code(self, ledger):
        with ledger.database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []

    def test_lies_in_a_schema_of_its_own(self, ledger):
        with ledger.database.read() as connection:
            found = connection.exec_driver_sql(
                "SELECT DISTINCT schemaname FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
            assert found.scalars().all() == ["mailer"]

    @pytest.mark.parametrize(
        ("login", "database", "complaint"),
        [
            ("guarded:wr0ng%2Fword", "empty", "refuses the login: look at user and password"),
            ("guarded:s3cret%2Fword", "missing", "does not exist: create it"),
            ("guarded:s3cret%2Fword", "postgres", "make it the owner, or GRANT CREATE"),
        ],
    )
    def test_what_is_wrong_is_said_without_the_password(self, login, database, complaint):
        port = postgres_of_this_run().port

        with pytest.raises(LedgerError, match=complaint) as caught:
            migrate(f"postgresql://{login}@127.0.0.1:{port}/{database}")

        assert not re.search("wr0ng|s3cret", f"{caught.value}{caught.value.__cause__}")
        assert caught.value.__suppress_context__

    def test_a_server_that_is_away_is_not_waited_for_at_the_first_time(self):
        with pytest.raises(LedgerError, match=r"cannot be reached .*: is the server running"):
            migrate("postgresql://mailer:s3cret@127.0.0.1:1/x")

    def test_without_the_driver_it_says_what_to_install(self):
        code = (
            "import sys; sys.modules['psycopg'] = None\n"
            "from mailer.ledger import migrate\n"
            "migrate('postgresql://h/d')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ConfigError.__name__ in done.stderr
        assert "pip install 'mailer-worker[postgres]'" in done.stderr


class TestAddingRows:
    def test_the_next_page_is_made_while_the_server_takes_the_one_before(self, ledger):
        campaign = ledger.campaigns.create(NewCampaign("c", "c", "c", {}))
        committed = {}

        def new_rows() -> Iterator[NewRow]:
            for n in range(1, 2 * PAGE + 1):
                if n in {PAGE, PAGE + 1, 2 * PAGE}:
                    committed[n] = ledger.campaigns.max_ordinal(campaign.id)
                yield Book.row(n)

        assert ledger.campaigns.add_rows(campaign.id, new_rows()) == 2 * PAGE
        assert committed == {PAGE: 0, PAGE + 1: 0, 2 * PAGE: 0}
        assert ledger.campaigns.max_ordinal(campaign.id) == 2 * PAGE

    def test_survives_kill_9(self, url, ledger):
        """In the second page, while the third is being made."""
        campaign = ledger.campaigns.create(NewCampaign("c", "c", "c", {}))
        program = f"""
import os, signal, sys
from mailer.ledger import open_ledger
from tests.ledgers import Book
def rows():
    for n in range(1, {2 * PAGE + PAGE // 2 + 2}):
        yield Book.row(n)
    os.kill(os.getpid(), signal.SIGKILL)
open_ledger(sys.argv[1]).campaigns.add_rows({campaign.id}, rows())
"""
        killed = subprocess.run([sys.executable, "-c", program, url], timeout=PATIENCE, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert ledger.campaigns.max_ordinal(campaign.id) == PAGE

        again = map(Book.row, range(1, 2 * PAGE + 1))
        assert ledger.campaigns.add_rows(campaign.id, again) == PAGE
        assert ledger.campaigns.opened(campaign.id, 0).total == 2 * PAGE
        assert [row.line for row in ledger.results.rows(campaign.id)] == list(range(2, 2 * PAGE + 2))


class TestAtTheSameTime:
    def test_a_row_belongs_to_one_claim(self, url, ledger):
        campaign = running(ledger)
        ids = Book.ids(ledger.campaigns.by_id(campaign), *range(1, ROWS + 1))
        begin = threading.Barrier(4)
        brought: list[int] = []

        def work(seed: int) -> None:
            random = Random(seed)
            with opened(url) as own:
                begin.wait()
                for _ in range(20):
                    hinted = random.sample(ids, 15)
                    brought.extend(row.id for row in own.slices.claim(hinted, f"w{seed}", 60).rows)

        at_once(*(lambda seed=seed: work(seed) for seed in range(4)))

        assert len(brought) == len(set(brought))
        assert ledger.campaigns.in_flight(campaign) == len(brought)

    def test_writers_never_wait_in_a_circle(self, url, ledger):
        """Workers that claim, mark, settle, suppress and lose leases on the same rows; somebody who recovers,
        and a person who pauses, resumes and tries again. Any deadlock raises here."""
        campaign = running(ledger)
        ids = Book.ids(ledger.campaigns.by_id(campaign), *range(1, ROWS + 1))
        marked: Counter[tuple[int, int]] = Counter()

        def work(seed: int) -> None:
            random = Random(seed)
            with opened(url) as own:
                for _ in range(25):
                    held = own.slices.claim(random.sample(ids, 12), f"w{seed}", 60)
                    marks = [(row.id, held.fence) for row in held.rows]
                    random.shuffle(marks)
                    answers = own.slices.mark(marks)
                    marked.update(mark for mark, answer in zip(marks, answers, strict=True) if answer)
                    own.slices.heartbeat([held.fence], 60)
                    if random.random() < 0.4:
                        own.slices.abandon(f"w{random.randrange(3)}")
                    states = (State.DEFERRED, State.ACCEPTED, State.PENDING)
                    own.slices.settle(
                        [
                            Settlement(id_, fence, random.choice(states), due_at=1.0, suppress=seed == 1)
                            for id_, fence in marks
                        ]
                    )
                    own.slices.close([held.fence])

        def oversee() -> None:
            with opened(url) as own:
                for turn in range(25):
                    own.slices.recover()
                    own.schedule.finish(campaign)
                    if own.campaigns.state(campaign) is CampaignState.FINISHED:
                        return
                    own.campaigns.pause(campaign, "to see")
                    own.campaigns.resume(campaign)
                    if turn % 5 == 0:
                        own.campaigns.retry(campaign, {State.UNKNOWN})

        at_once(*(lambda seed=seed: work(seed) for seed in range(3)), oversee)

        assert set(marked.values()) <= {1}  # I2: nobody got the same permission twice
        states = Counter(row.state for row in ledger.results.rows(campaign))
        assert {state: n for state, n in ledger.campaigns.counts(campaign).states.items() if n} == states

    def test_after_a_pause_no_mark_succeeds(self, url, ledger):
        """I5, with marks under way while the pause is asked for."""
        campaign = running(ledger, 400)
        ids = Book.ids(ledger.campaigns.by_id(campaign), *range(1, 401))
        begin, paused = threading.Barrier(3), threading.Event()
        late: list[bool] = []

        def work(own_ids: list[int], worker: str) -> None:
            with opened(url) as own:
                held = own.slices.claim(own_ids, worker, 60)
                begin.wait()
                for number, id_ in enumerate(own_ids):
                    after = paused.wait(PATIENCE if number == 190 else 0)  # some surely come after it
                    (answer,) = own.slices.mark([(id_, held.fence)])
                    if after:
                        late.append(answer)

        def person() -> None:
            with opened(url) as own:
                begin.wait()
                own.campaigns.pause(campaign, "stop")
                paused.set()

        at_once(lambda: work(ids[:200], "a"), lambda: work(ids[200:], "b"), person)

        assert late
        assert not any(late)

    def test_who_leads_is_one(self, url):
        begin = threading.Barrier(3)
        won = []

        def stand(name: str) -> None:
            with opened(url) as own:
                begin.wait()
                won.append(own.schedule.lead("pump", name, 60))

        at_once(*(lambda name=name: stand(name) for name in "abc"))
        assert sorted(won) == [False, False, True]

    def test_a_campaign_is_run_by_one_command(self, url, ledger):
        campaign = running(ledger)
        with opened(url) as other, ledger.runs.hold(campaign):
            assert other.runs.holder(campaign)
            with (
                pytest.raises(StateConflict, match=r":\d+ is sending this campaign right now"),
                other.runs.hold(campaign),
            ):
                pass
        with ledger.runs.hold(campaign):
            pass


class TestConnections:
    def test_a_lost_answer_to_commit_is_looked_up(self, url, ledger):
        campaign = running(ledger, 3)
        with proxied(url) as (proxy, far):
            held = far.slices.claim(Book.ids(far.campaigns.by_id(campaign), 1, 2, 3), "w", 60)
            proxy.down.cut_at, proxy.down.matches = COMMITTED, 1

            assert far.slices.mark([(held.rows[0].id, held.fence)]) == [True]

            assert proxy.down.matches == 0
            assert far.slices.mark([(held.rows[0].id, held.fence)]) == [False]
        assert ledger.campaigns.counts(campaign).states[State.SENDING] == 1

    def test_a_commit_that_never_arrived_is_none(self, url, ledger):
        campaign = running(ledger, 3)
        with proxied(url) as (proxy, far):
            held = far.slices.claim(Book.ids(far.campaigns.by_id(campaign), 1, 2, 3), "w", 60)
            proxy.up.cut_at, proxy.up.matches = b"COMMIT\x00", 1

            with pytest.raises(LedgerError, match="cannot be reached"):
                far.slices.mark([(held.rows[0].id, held.fence)])
            assert ledger.campaigns.counts(campaign).states[State.SENDING] == 0

            proxy.up.cut_at = None
            assert far.slices.mark([(held.rows[0].id, held.fence)]) == [True]

    def test_a_commit_of_which_nobody_can_tell_is_not_confirmed(self, url, ledger, monkeypatch):
        campaign = running(ledger, 3)
        monkeypatch.setattr(Postgres, "patience", 0.3)
        with proxied(url) as (proxy, far):
            held = far.slices.claim(Book.ids(far.campaigns.by_id(campaign), 1), "w", 60)
            proxy.down.cut_at, proxy.down.matches, proxy.refuse = COMMITTED, 1, True

            with pytest.raises(LedgerError):
                far.slices.mark([(held.rows[0].id, held.fence)])

        ledger.slices.abandon("w")
        assert ledger.slices.recover().unknown == 1  # it may have been sent as far as the ledger knows

    async def test_a_restart_of_the_server_costs_a_moment(self):
        with postgres_server() as server:
            url = server.create("work")
            writer = GroupCommit(open_ledger(url))
            campaign = await writer.run(running)
            ids = await writer.run(lambda ledger: ledger.schedule.due(campaign, None, ROWS))
            restarting = threading.Thread(target=server.restart)
            for at, id_ in enumerate(ids):
                if at == ROWS // 3:
                    restarting.start()
                held = await writer.claim([id_], "w", 60)
                if held.rows and await writer.mark(id_, held.fence):
                    assert await writer.settle(Settlement(id_, held.fence, State.ACCEPTED))
            restarting.join()

            counts = await writer.run(lambda ledger: ledger.campaigns.counts(campaign).states)
            await writer.close()

        assert counts[State.ACCEPTED] == ROWS

    def test_a_server_that_stays_away_is_said_to(self, url, monkeypatch):
        monkeypatch.setattr(Postgres, "patience", 0.3)
        with proxied(url) as (proxy, far):
            campaign = running(far, 3)
            proxy.refuse = True
            proxy.drop()

            with pytest.raises(LedgerBusy, match="has not answered for 0 s: is it running"):
                far.campaigns.pause(campaign, "x")
            proxy.refuse = False
            far.campaigns.pause(campaign, "x")


@contextmanager
def proxied(url: str) -> Iterator[tuple[TcpProxy, Ledger]]:
    server = postgres_of_this_run()
    with TcpProxy(server.port) as proxy, opened(url.replace(f":{server.port}/", f":{proxy.port}/")) as far:
        far.schedule.raise_epoch()
        yield proxy, far


@pytest.mark.parametrize(
    "statement",
    [
        *(claiming._DUE, claiming._TAKE, marking._MARK, held._HELD, settling._SETTLE.one),
        *(schedule._FRESH, schedule._LATER, schedule._NEXT_DUE, schedule._FRESH_IN_LANE, results._PAGE),
    ],
)
def test_rows_are_found_by_an_index_though_nobody_has_counted_them(ledger, statement):
    running(ledger, 3000)
    with ledger.database.write() as tx:
        numbers = count(1)
        sql = re.sub("%s", lambda _: f"${next(numbers)}", ledger.database.prepared(statement).sql)
        tx.cursor.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE it AS {sql}", prepare=False)
        nothing = ", ".join(["NULL"] * (next(numbers) - 1))
        plan = "\n".join(line for (line,) in tx.cursor.execute(f"EXPLAIN EXECUTE it({nothing})").fetchall())
    assert "Seq Scan on message" not in plan
    assert "Sort" not in plan or statement is claiming._DUE  # those are as many as a claim takes
