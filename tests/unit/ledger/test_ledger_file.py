"""One file for many processes: who may read it, who writes next, and what is left when one dies."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import mailer.ledger
from mailer.errors import ConfigError, LedgerBusy, LedgerError
from mailer.ledger import migrate, open_ledger, revision
from mailer.ledger.contract import CampaignState, NewCampaign
from mailer.ledger.queueing import WriteQueue
from mailer.ledger.schema import metadata
from mailer.ledger.upgrade import HEAD
from mailer.message import State
from tests.servers import PATIENCE, wait_until

#: What every program below begins with.
PRELUDE = """
import os, sys, json, resource, signal, threading, time
from mailer.errors import LedgerError
from mailer.ledger import open_ledger
from mailer.ledger.contract import NewCampaign, NewRow
url = sys.argv[1]
def rows(count):
    for n in range(1, count + 1):
        yield NewRow(n, n + 1, f"person-{n}@x.example", "x.example", json.dumps({"n": n}))
"""


#: And where that is killed: when all of its so many-th transaction is written, and not committed.
DIES = """
from mailer.ledger.transaction import Transaction
moved, left = Transaction.moved, [{}]
def dies(*written):
    moved(*written)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
Transaction.moved = dies
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/mailer.db"


def start(program: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


class TestOpening:
    def test_makes_a_file_that_nobody_else_may_read(self, url, tmp_path):
        ledger = open_ledger(url)
        ledger.schedule.raise_epoch()

        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        ledger.close()
        assert modes == dict.fromkeys(
            ["mailer.db", "mailer.db-lock", "mailer.db-wal", "mailer.db-shm"], 0o600
        )

    def test_of_an_empty_file(self, url, tmp_path):
        (tmp_path / "mailer.db").touch()
        assert revision(url) is None
        migrate(url)

        assert revision(url) == HEAD
        open_ledger(url).close()

    def test_asking_for_the_revision_makes_nothing(self, url, tmp_path):
        assert revision(url) is None
        assert list(tmp_path.iterdir()) == []

    def test_the_second_time_needs_no_alembic(self, url):
        migrate(url)

        assert finish(start("open_ledger(url).close(); print('alembic' in sys.modules)", url)) == "False\n"

    def test_by_several_processes_at_once(self, url):
        processes = [start("print(open_ledger(url).schedule.raise_epoch())", url) for _ in range(3)]

        raised = sorted(int(finish(process)) for process in processes)
        assert [one - raised[0] for one in raised] == [0, 1, 2]

    def test_a_newer_ledger_is_refused(self, url, tmp_path):
        migrate(url)
        with sqlite3.connect(tmp_path / "mailer.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()

        with pytest.raises(
            LedgerError, match=f"newer version .revision 9999; this one knows {HEAD}.: update"
        ):
            open_ledger(url)
        assert revision(url) == "9999"

    def test_somebody_elses_database_is_refused(self, url, tmp_path):
        with sqlite3.connect(tmp_path / "mailer.db") as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()

        with pytest.raises(LedgerError, match="something else"):
            open_ledger(url)

    def test_what_is_no_database_is_refused(self, url, tmp_path):
        (tmp_path / "mailer.db").write_text("Dear diary, " * 1000)

        with pytest.raises(LedgerError, match="is not a ledger: name another file"):
            open_ledger(url)

    def test_a_folder_that_is_missing(self, tmp_path):
        with pytest.raises(LedgerError, match="No such file or directory"):
            open_ledger(f"sqlite:///{tmp_path}/missing/mailer.db")

    @pytest.mark.parametrize(
        ("wrong", "complaint"),
        [
            ("sqlite://", "must be a file"),
            ("sqlite:///:memory:", "must be a file"),
            ("mysql://x/y", "unknown ledger 'mysql', expected one of: sqlite"),
            ("mailer.db", "cannot be read: expected sqlite:////path"),
        ],
    )
    def test_a_url_that_cannot_be_used(self, wrong, complaint):
        with pytest.raises(ConfigError, match=complaint):
            open_ledger(wrong)


class TestMigrations:
    @pytest.mark.filterwarnings("ignore:.*expression-based index")
    def test_lead_to_the_tables_of_the_code(self, url, tmp_path):
        migrate(url)
        engine = create_engine(f"sqlite:///{tmp_path}/mailer.db")
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []
        engine.dispose()

    def test_indexes_are_those_of_the_code(self, url, tmp_path):
        """SQLAlchemy cannot read an index on an expression back, so here the texts are compared."""
        migrate(url)
        made = create_engine(f"sqlite:///{tmp_path}/mailer.db")
        meant = create_engine("sqlite://")
        metadata.create_all(meant)

        assert _indexes(made) == _indexes(meant)

    def test_end_at_the_revision_that_the_code_knows(self):
        config = Config()
        config.set_main_option("script_location", str(Path(mailer.ledger.__file__).with_name("migrations")))
        assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def _indexes(engine):
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql != ''"
        )
        found = {name: sql.replace("(id >> 13)", "id >> 13") for name, sql in rows}
    engine.dispose()
    return found


class TestDying:
    def test_adding_rows_survives_kill_9(self, url):
        ledger = open_ledger(url)
        campaign = ledger.campaigns.create(NewCampaign("c", "c", "c", {}))
        add = f"""
ledger = open_ledger(url)
ledger.campaigns.add_rows({campaign.id}, rows(20_000))
"""
        for transaction in (2, 3):
            process = start(DIES.format(transaction) + add, url)
            process.communicate(timeout=PATIENCE)
            assert process.returncode == -signal.SIGKILL
            # What was written in that transaction is not there; what was before it is.
            assert ledger.campaigns.counts(campaign.id).states[State.PENDING] == 5_000 * (transaction - 1)
            assert ledger.campaigns.max_ordinal(campaign.id) == 5_000 * (transaction - 1)
        finish(start(add, url))

        opened = ledger.campaigns.opened(campaign.id, 0)
        found = [row.line for row in ledger.results.rows(campaign.id)]
        ledger.close()
        assert (opened.total, opened.state) == (20_000, CampaignState.RUNNING)
        assert found == list(range(2, 20_002))

    def test_a_full_disk_leaves_nothing_half_written(self, url):
        """A limit on the file's size stands for the disk's."""
        program = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = open_ledger(url)
campaign = ledger.campaigns.create(NewCampaign("c", "c", "c", {}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
try:
    ledger.campaigns.add_rows(campaign.id, rows(30_000))
except LedgerError as error:
    print(error)
counted = ledger.campaigns.by_id(campaign.id).total
print(0 < counted < 30_000, counted % 5000, counted - sum(1 for _ in ledger.results.rows(campaign.id)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.campaigns.add_rows(campaign.id, rows(30_000))
print(ledger.campaigns.opened(campaign.id, 0).total)
"""
        advice, counted, total = finish(start(program, url)).splitlines()

        assert "disk" in advice
        assert (counted, total) == ("True 0 0", "30000")

    def test_group_commit_answers_everybody_when_the_disk_is_full(self, url):
        program = """
import asyncio
from mailer.ledger.contract import Settlement
from mailer.ledger.writer import GroupCommit
from mailer.message import State
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = open_ledger(url)
campaign = ledger.campaigns.create(NewCampaign("c", "c", "c", {}))
ledger.campaigns.add_rows(campaign.id, rows(100))
ledger.campaigns.opened(campaign.id, 0)
async def main():
    writer = GroupCommit(ledger)
    claimed = await writer.claim(ledger.schedule.due(campaign.id, None, 100), "anna", 60)
    size = os.stat(ledger.database.dialect.path.with_name("mailer.db-wal")).st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    marks = [writer.mark(row.id, claimed.fence) for row in claimed.rows]
    answers = await asyncio.gather(*marks, return_exceptions=True)
    print({type(answer).__name__ for answer in answers}, len(answers))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(await writer.mark(claimed.rows[0].id, claimed.fence))
    await writer.close()
asyncio.run(main())
"""
        assert finish(start(program, url)) == "{'LedgerError'} 100\nTrue\n"


class TestTakingTurns:
    def test_two_processes_write_in_fair_shares(self, url):
        migrate(url)
        program = """
ledger = open_ledger(url)
print("ready", flush=True)
sys.stdin.readline()
turns = [ledger.schedule.raise_epoch()]
print("turning", flush=True)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set())).start()
while not over.is_set():
    turns.append(ledger.schedule.raise_epoch())
print(*turns)
"""
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PRELUDE + program, url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        ledger = open_ledger(url)
        born = ledger.schedule.epoch()
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout.readline() == "turning\n"
        begin = ledger.schedule.epoch()
        wait_until(lambda: ledger.schedule.epoch() > begin + 400, "four hundred turns of both")
        end = ledger.schedule.epoch()
        said = [process.communicate("\n", timeout=PATIENCE)[0] for process in processes]
        turns = [[int(turn) for turn in out.split()] for out in said]

        assert sorted(turns[0] + turns[1]) == list(range(born + 1, ledger.schedule.epoch() + 1))
        ledger.close()
        shares = [sum(begin < turn <= end for turn in own) for own in turns]
        assert min(shares) > max(shares) / 10  # SQLite's own handler: 1 to 150

    def test_threads_of_one_process(self, url):
        ledger = open_ledger(url)
        born = ledger.schedule.epoch()
        threads = [
            threading.Thread(target=lambda: [ledger.schedule.raise_epoch() for _ in range(25)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ledger.schedule.epoch() == born + 100
        ledger.close()

    def test_a_child_after_a_fork_opens_its_own(self, url):
        program = """
ledger = open_ledger(url)
born = ledger.schedule.raise_epoch()
child = os.fork()
for _ in range(50):
    ledger.schedule.raise_epoch()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(ledger.schedule.epoch() - born)
"""
        assert finish(start(program, url)) == "100\n"

    def test_who_ends_leaves_the_log_of_the_others_alone(self, url, tmp_path):
        """SQLite removes its log when it takes itself for the last one that has the file open."""
        migrate(url)
        ledger = open_ledger(url)
        born = ledger.schedule.epoch()
        ledger.schedule.raise_epoch()
        finish(start("open_ledger(url).close()", url))

        assert (tmp_path / "mailer.db-wal").exists()
        ledger.schedule.raise_epoch()
        assert finish(start("print(open_ledger(url).schedule.epoch())", url)) == f"{born + 2}\n"
        ledger.close()

    def test_after_a_fork_too(self, url, tmp_path):
        program = """
ledger = open_ledger(url)
ledger.schedule.raise_epoch()
come, go = os.pipe(), os.pipe()
if not os.fork():
    ledger.schedule.raise_epoch()
    os.write(come[1], b"x")
    os.read(go[0], 1)
    print(os.path.exists(url.removeprefix("sqlite:///") + "-wal"), flush=True)
    os._exit(0)
os.read(come[0], 1)
ledger.close()
os.write(go[1], b"x")
os.wait()
"""
        assert finish(start(program, url)) == "True\n"

    def test_readers_do_not_wait(self, url):
        ledger = open_ledger(url)
        with ledger.database.write():
            assert ledger.schedule.epoch() > 0
        ledger.close()

    def test_a_ledger_can_be_used_again_after_it_was_closed(self, url):
        ledger = open_ledger(url)
        born = ledger.schedule.epoch()
        ledger.close()

        assert ledger.schedule.raise_epoch() == born + 1
        ledger.close()

    def test_who_waits_too_long_is_told_and_the_next_still_gets_his_turn(self, tmp_path):
        path = tmp_path / "mailer.db-lock"
        first, second = WriteQueue(path), WriteQueue(path, patience=0.05)
        with (
            first.turn(),
            pytest.raises(LedgerBusy, match=r"writing to mailer\.db for more than"),
            second.turn(),
        ):
            pass

        second._patience = PATIENCE  # whoever gave up lets go of the turn when his thread hears of it
        with second.turn():
            pass
        first.close()
        second.close()

    def test_whoever_waits_gets_the_turn_when_it_is_free(self, tmp_path):
        path = tmp_path / "mailer.db-lock"
        first, second = WriteQueue(path), WriteQueue(path)
        order = []

        def wait():
            with second.turn():
                order.append("second")

        waiting = threading.Thread(target=wait)
        with first.turn():
            waiting.start()
            while not any(thread.name == "ledger-write-queue" for thread in threading.enumerate()):
                time.sleep(0.001)
            order.append("first")
        waiting.join()

        assert order == ["first", "second"]
        first.close()
        second.close()
        assert os.stat(path).st_size == 0


def test_a_process_that_comes_and_goes_leaves_the_log_to_those_that_stay(url):
    """SQLite deletes the log when the last process leaves, which it knows by locks on the file. Those of a
    process are gone as soon as it closes any descriptor of the file: nothing may open it beside SQLite."""
    open_ledger(url).close()
    staying = open_ledger(url)
    staying.campaigns.list()  # a reader is there when the writer opens
    staying.schedule.raise_epoch()

    visit = "import sys; from mailer.ledger import open_ledger; ledger = open_ledger(sys.argv[1])\n"
    come_and_go = visit + "ledger.campaigns.list(); print(ledger.schedule.epoch()); ledger.close()"
    subprocess.run([sys.executable, "-c", come_and_go, url], check=True, stdout=subprocess.DEVNULL)
    raised = staying.schedule.raise_epoch()
    seen = subprocess.run([sys.executable, "-c", come_and_go, url], check=True, stdout=subprocess.PIPE)

    assert int(seen.stdout) == raised
    staying.close()
