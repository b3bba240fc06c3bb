"""Workers at work on one campaign, for tests that break something under them."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from mailer.ledger.contract import Campaign, CampaignState
from mailer.message import State
from mailer.publisher import worker_argv
from tests.delivering import World
from tests.forked import Forked, celery
from tests.servers import Process, SmtpSink, wait_until
from tests.working import environment, write_settings

#: Fewer per second than the machine could, so that something is left to do when the fault comes.
SLOWLY = '"200/s"'
#: Connections of one worker: so many messages may be under way at once.
CONNECTIONS = 4


class Worker(Forked):
    """One worker process."""

    def __init__(self, folder: Path, name: str, work: Callable[..., None] = celery) -> None:
        self.name = name
        log, arguments = folder / f"{name}.log", worker_argv(name=name)[3:]
        super().__init__(work, *arguments, folder=folder, environment=environment(), out=log, err=log)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def is_stopped(pid: int) -> bool:
    """All of its threads: each goes on until it is back from the kernel (proc(5), ``stat``)."""
    try:
        threads = [thread.read_text() for thread in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # one has ended meanwhile
        return False
    return {thread.rpartition(")")[2].split()[0] for thread in threads} == {"T"}


class Works:
    """A folder with mailer.toml, a ledger, a broker and an SMTP server; workers are started in it."""

    def __init__(self, folder: Path, broker: str, sink: SmtpSink, ledger: str = "", **settings: Any) -> None:
        self.folder = folder
        self.sink = sink
        self.world = World(folder, ledger)
        self.workers: list[Worker] = []
        self.others: list[Process] = []
        settings = {"lease": 2.0, "connections": CONNECTIONS, "rate": SLOWLY} | settings
        write_settings(folder, broker=broker, backend=sink.url, ledger=self.world.url, **settings)

    def start(self, count: int = 1, work: Callable[..., None] = celery) -> list[Worker]:
        started = [Worker(self.folder, f"w{len(self.workers) + n}", work) for n in range(1, count + 1)]
        self.workers += started
        return started

    def start_under(self, name: str, **variables: str) -> Process:
        """A worker that is started afresh, in an environment with these variables."""
        log = self.folder / f"{name}.log"
        process = Process(worker_argv(name=name), log, cwd=self.folder, env=environment() | variables)
        self.others.append(process)
        return process

    def reopen(self) -> None:
        """The ledger, after its file was changed under it."""
        self.world = World(self.folder, self.world.url)

    async def close(self) -> None:
        """Nobody is given time: a worker that outlives its ledger waits for it."""
        for process in self.others:
            process.kill()
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.signal(signal.SIGCONT)
            worker.kill()
        await self.world.close()

    def states(self, campaign: Campaign) -> dict[State, int]:
        return self.world.states(campaign)

    def settled(self, campaign: Campaign) -> dict[State, int]:
        """As ``states``, when nobody has anything more to say: the answer that a worker got counts also after
        its lease, so a row that is in doubt because its worker was slow is none when that has ended well."""
        if self.states(campaign).get(State.UNKNOWN):
            with ThreadPoolExecutor() as together:
                list(together.map(lambda process: process.stop(), (*self.workers, *self.others)))
        return self.states(campaign)

    def finished(self, campaign: Campaign) -> bool:
        return self.world.now(campaign).state is CampaignState.FINISHED

    def wait_for_end(self, campaign: Campaign) -> None:
        self._wait(lambda: self.finished(campaign), "campaign finished", campaign)

    def wait_for_some(self, campaign: Campaign, count: int = 50) -> None:
        """Until that many were accepted."""
        self._wait(
            lambda: self.states(campaign).get(State.ACCEPTED, 0) >= count, f"{count} accepted", campaign
        )

    def moves_after(self, campaign: Campaign) -> float:
        """Seconds until one more message arrives than have by now."""
        began, arrived = time.monotonic(), self.sink.count()
        self._wait(lambda: self.sink.count() > arrived or self.finished(campaign), "moves again", campaign)
        return time.monotonic() - began

    def copies(self) -> Counter[str]:
        """How many copies of each recipient's mail the SMTP server took."""
        return Counter(self.sink.recipients())

    def only(self, name: str) -> Counter[str]:
        """The copies of those whose address starts with ``name``."""
        return Counter({who: n for who, n in self.copies().items() if who.startswith(name)})

    def hang(self, worker: Worker) -> None:
        """Stop it where it stands, but not while it writes: it would hold SQLite's lock, and nobody could
        go on before it does."""
        with (self.folder / "mailer.db-lock").open() as file:
            while True:
                worker.signal(signal.SIGSTOP)
                wait_until(lambda: is_stopped(worker.pid), f"{worker.name} stands still")
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    fcntl.flock(file, fcntl.LOCK_UN)
                    return
                worker.signal(signal.SIGCONT)
                time.sleep(random.random() / 20)

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def _wait(self, true: Callable[[], bool], what: str, campaign: Campaign) -> None:
        try:
            wait_until(true, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.states(campaign)}\n{self.log()[-4000:]}") from None
