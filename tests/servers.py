"""Real servers for tests: started on free ports, stopped by process id.

A missing program skips the test on a laptop and fails it when ``CI`` is set. The fixtures in
``conftest.py`` hand these out; a test that needs finer control uses the context managers.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest

from tests.forked import PATIENCE, Forked
from tests.forked import sink as forked_sink


def need(binary: str) -> str:
    """The path of a program that Python does not bring along. See scripts/install-test-servers.sh."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if found := shutil.which(binary, path=path):
        return found
    return missing(binary)


def need_file(path: str) -> str:
    """This library of another language, where Debian puts it."""
    if not Path(path).exists():
        missing(Path(path).name)
    return path


def missing(what: str) -> NoReturn:
    """Skip on a laptop, fail when ``CI`` is set."""
    message = f"{what} is not installed; run scripts/install-test-servers.sh"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


#: Below the ports that the kernel gives to outgoing connections, which could take one before its server does.
PORTS = range(10_000, 32_000)
#: A locked octet is a port that a test process has, whatever checkout it runs in. The kernel unlocks it.
TAKEN = Path("/tmp", f"mailer-test-ports-{os.getuid()}")


@functools.cache
def _taken() -> int:
    return os.open(TAKEN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _ours(port: int) -> bool:
    """Nobody listens there, and no other test process is about to."""
    with suppress(OSError), socket.socket() as probe:
        fcntl.lockf(_taken(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        probe.bind(("127.0.0.1", port))
        return True
    return False


_candidates = itertools.cycle(PORTS[os.getpid() * 7919 % len(PORTS) :])


def free_port() -> int:
    """A loopback port for this test process alone."""
    return next(port for port in _candidates if _ours(port))


def wait_until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    """Poll until ``true()``, less often the longer it takes: to ask costs those who work on it their time.
    Raises TimeoutError naming ``what``."""
    began = time.monotonic()
    while not true():
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(min(0.05, 0.005 + waited / 20))


def answers(port: int) -> bool:
    """Whether something listens on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def tied(orphaned: signal.Signals) -> list[str]:
    """What stands before a command that gets this signal when its test run is gone, however that ended.

    It becomes the command, under the same process id. Linux alone can do it; and to Linux a parent is a
    thread, so what another thread than the main one starts is left as it is.
    """
    linux = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
    program = shutil.which("setpriv", path="/usr/bin:/bin") if linux else None
    return [program, "--pdeathsig", orphaned.name.removeprefix("SIG"), "--"] if program else []


class Process:
    """One server process, in a session of its own: no signal to a group, such as those of Ctrl-C, ``timeout``
    and ``kill 0``, reaches the servers of a run that goes on. Every signal goes to its id, never to a name.

    ``orphaned``: what it gets when its run is gone. SIGTERM for what has processes of its own to end.
    """

    def __init__(
        self,
        command: Sequence[object],
        log: Path,
        *,
        orphaned: signal.Signals = signal.SIGKILL,
        **popen: Any,
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*tied(orphaned), *self.command],
                stdin=subprocess.DEVNULL,
                stderr=output,
                **({"stdout": output, "start_new_session": True} | popen),
            )
        self.pid = self._process.pid
        self.stdout = self._process.stdout

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    def wait_for_port(self, port: int) -> None:
        def up() -> bool:
            if not self.running:
                raise RuntimeError(f"{self.command[0]} ended: {self.log.read_text(errors='replace')}")
            return answers(port)

        wait_until(up, f"{self.command[0]} on port {port}")

    def pause(self) -> None:
        """Hang: the kernel still accepts connections, nobody reads."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End at once, as a crash would."""
        self._process.kill()
        self._end()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End in good order; after ``PATIENCE`` at once."""
        if self.running:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(sign)
        self._end()

    def _end(self) -> None:
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self.stdout is not None and not self.stdout.closed:
            self.stdout.close()


@dataclass(frozen=True)
class SinkMessage:
    """One message as a sink recorded it. ``data`` is un-stuffed, with the line ends the sink keeps."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    mail_options: str = ""


@dataclass
class SmtpSink:
    """Postfix smtp-sink. A message counts from its final dot on."""

    port: int
    process: Process
    dump: Path

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?tls=none"

    def messages(self) -> list[SinkMessage]:
        """Everything received, lines ending in LF."""
        found = []
        for path in self._complete():
            with suppress(FileNotFoundError):  # a dot that never came, noticed just now
                found.append(_parse_dump(path.read_bytes()))
        return found

    def recipients(self) -> list[str]:
        """Envelope recipients of everything received, once per copy."""
        return [recipient for message in self.messages() for recipient in message.recipients]

    def count(self) -> int:
        return len(self._complete())

    def hear_out(self) -> Self:
        """Wait until it has heard everything that clients sent which have ended since, however they did: what
        they wrote last lies in its buffers for a while."""
        wait_until(lambda: not _connected(self.port), "smtp-sink is alone")
        return self

    def _complete(self) -> list[Path]:
        """smtp-sink opens the file at MAIL, closes it at the dot, and removes it when that never comes.

        Between closing and removing there is a moment in which the file looks complete. smtp-sink has one
        thread and does both in one go, so when it has gone to sleep since, what is still there stays.
        """
        there = sorted(self.dump.iterdir())  # first: what is opened after this is not in question
        descriptors = Path("/proc", str(self.process.pid), "fd")  # absent outside Linux
        unfinished = {_target(link) for link in descriptors.glob("*")}
        closed = [path for path in there if path not in unfinished]
        while _is_busy(self.process.pid):
            time.sleep(0.001)
        return [path for path in closed if path.exists()]


def _is_busy(pid: int) -> bool:
    """Whether a process runs or waits for a disk, and does not sleep for want of work (proc(5), ``stat``)."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except FileNotFoundError:  # ended, or no /proc
        return False
    return stat.rpartition(")")[2].split()[0] in "RD"


#: Of a connection whose other end may have sent what nobody has read yet: ESTABLISHED and CLOSE_WAIT.
OPEN = {"01", "08"}


def _connected(port: int) -> int:
    """Connections to this port that its server has not closed (proc(5), ``net/tcp``); 0 without a /proc."""
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except FileNotFoundError:
        return 0
    own = [line.split()[3] for line in lines if line.split()[1].endswith(f":{port:04X}")]
    return sum(state in OPEN for state in own)


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except FileNotFoundError:  # closed meanwhile
        return None


def _parse_dump(dump: bytes) -> SinkMessage:
    """X- lines for the envelope, a Received field of three lines, the message, one empty line."""
    head, _, rest = dump.partition(b"Received: ")
    fields = [line.decode().partition(": ")[::2] for line in head.splitlines()]
    sender, _, options = next(text for name, text in fields if name == "X-Mail-Args").partition(" ")
    recipients = [text.split(" ")[0].strip("<>") for name, text in fields if name == "X-Rcpt-Args"]
    return SinkMessage(sender.strip("<>"), tuple(recipients), rest.split(b"\n", 3)[3][:-1], options)


@contextmanager
def smtp_sink(*args: str, keep: bool = True) -> Iterator[SmtpSink]:
    """Postfix smtp-sink with these options, for example ``"-q", "DATA"`` or ``"-f", "RCPT"``.

    ``keep=False`` counts nothing and is several times faster.
    """
    binary, port = need("smtp-sink"), free_port()
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder, "mail")
        dump.mkdir()
        options = [*(["-u", "root"] if os.geteuid() == 0 else []), *(["-d", f"{dump}/"] if keep else [])]
        process = Process([binary, *options, *args, f"127.0.0.1:{port}", "128"], Path(folder, "log"))
        try:
            process.wait_for_port(port)
            yield SmtpSink(port, process, dump)
        finally:
            process.stop()


@dataclass
class RedisServer:
    """A redis-server of its own, without persistence: a restart forgets everything."""

    port: int
    folder: Path
    process: Process = field(init=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": self.folder}
        options |= {"save": "", "appendonly": "no", "unixsocket": "", "loglevel": "warning"}
        command = [
            need("redis-server"),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]
        self.process = Process(command, self.folder / "log")
        self.process.wait_for_port(self.port)
        return self

    def restart(self) -> None:
        self.process.kill()
        self.start()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A redis-server on a free port."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(free_port(), Path(folder)).start()
        try:
            yield server
        finally:
            server.process.stop()


@dataclass
class MailerSink:
    """``mailer sink`` in a process of its own."""

    port: int
    process: Forked
    store: Path
    out: Path
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?tls=none"

    def index(self) -> list[dict[str, Any]]:
        """One object per stored message, in order of arrival; the keys are in docs/reference/sink.md."""
        path = self.store / "index.jsonl"
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # the last line may still be on its way
        return [json.loads(line) for line in whole.splitlines()]

    def messages(self) -> list[SinkMessage]:
        """Everything taken, byte for byte."""
        return [
            SinkMessage(
                entry["sender"],
                tuple(entry["recipients"]),
                (self.store / entry["file"]).read_bytes(),
                entry["mail_options"],
            )
            for entry in self.index()
        ]

    def recipients(self) -> list[str]:
        """Envelope recipients of everything taken, once per copy."""
        return [recipient for entry in self.index() for recipient in entry["recipients"]]

    def count(self) -> int:
        return len(self.index())

    def stop(self) -> dict[str, Any]:
        """End it; the summary it printed."""
        if self.process.running:
            self.process.stop()
            lines = [json.loads(line) for line in self.out.read_text().splitlines()]
            self.summary = next((line for line in lines if line["event"] == "summary"), {})
        return self.summary


@contextmanager
def mailer_sink(rules: str = "", **settings: Any) -> Iterator[MailerSink]:
    """Our sink with these rules (TOML text) and settings (keys of the ``[sink]`` table).

    ``store=None`` counts only; then ``stop()`` is what knows the numbers.
    """
    with tempfile.TemporaryDirectory() as folder:
        store, file = Path(folder, "mail"), Path(folder, "sink.toml")
        table = {"port": 0, "store": str(store)} | settings
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
        file.write_text("\n".join(["[sink]", *lines, rules, ""]))
        out, log = Path(folder, "out"), Path(folder, "log")
        out.touch()
        process = Forked(forked_sink, str(file), folder=Path.cwd(), environment=os.environ, out=out, err=log)
        try:
            yield MailerSink(_announced_port(process, out), process, store, out)
        finally:
            process.stop()


def _announced_port(process: Forked, out: Path) -> int:
    """The first line that the sink prints says where it listens."""
    wait_until(lambda: "\n" in out.read_text() or not process.running, "mailer sink")
    line, _, _ = out.read_text().partition("\n")
    if not line:
        raise RuntimeError(f"mailer sink ended: {process.log.read_text(errors='replace')}")
    return int(json.loads(line)["port"])


@dataclass
class PostgresServer:
    """A PostgreSQL of its own. It does not flush, so a crash of the machine would lose data; a crash of the
    server does not."""

    port: int
    folder: Path
    user: str | None
    durable: bool = False
    process: Process = field(init=False)

    def url(self, database: str = "postgres", user: str = "mailer", port: int | None = None) -> str:
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> Self:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "dynamic_shared_memory_type": "mmap",  # in its folder, which goes with it however it ends
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [_postgres("postgres"), "-D", self.data, *options]
        self.process = Process(command, self.folder / "log", user=self.user, cwd=self.folder)
        wait_until(self._ready, "postgres")
        return self

    def _ready(self) -> bool:
        if not self.process.running:
            raise RuntimeError(f"postgres ended: {self.process.log.read_text(errors='replace')}")
        check = subprocess.run(
            [_postgres("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return check.returncode == 0

    def stop(self) -> None:
        self.process.stop(signal.SIGINT)  # without waiting for clients

    def restart(self) -> None:
        self.stop()
        self.start()

    def create(self, database: str, template: str = "template1") -> str:
        """The URL of a new database."""
        with self._admin() as connection:
            connection.execute(f'CREATE DATABASE "{database}" OWNER mailer TEMPLATE "{template}"')
        return self.url(database)

    def drop(self, database: str) -> None:
        with self._admin() as connection:
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def _admin(self) -> Any:
        import psycopg

        return psycopg.connect(self.url(user="postgres"), autocommit=True)


def _postgres(program: str) -> str:
    """Debian keeps them out of PATH, in a folder per version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return str(folders[-1] / program) if folders else need(program)


_POSTGRES = "mailer-postgres-"


def _remove_what_killed_runs_left(folder: Path) -> None:
    """In a folder in memory that is 60 MB each, until the machine is started again."""
    for left in folder.glob(f"{_POSTGRES}*-*"):
        owner = left.name.removeprefix(_POSTGRES).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, PermissionError):  # not ours to judge
            continue


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """In memory where there is such a folder: to copy a database takes 20 ms there, and 300 on a disk.

    Everybody may log in without a password but ``guarded``, whose password is ``s3cret/word``. ``mailer``
    owns the databases. ``durable``: on disk, and it flushes, to be measured.
    """
    initdb = _postgres("initdb")
    folder = Path("/dev/shm" if not durable and _is_roomy("/dev/shm") else "/tmp")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    _remove_what_killed_runs_left(folder)
    with tempfile.TemporaryDirectory(prefix=f"{_POSTGRES}{os.getpid()}-", dir=folder) as name:
        home = Path(name)
        if user:
            shutil.chown(home, user)
        server = PostgresServer(free_port(), home, user, durable)
        command = [initdb, "-D", server.data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [*map(str, command), "--auth=trust"], user=user, cwd=home, check=True, capture_output=True
        )
        _only_with_a_password(server.data / "pg_hba.conf", "guarded")
        server.start()
        try:
            with server._admin() as connection:
                connection.execute("CREATE ROLE mailer LOGIN")
                connection.execute("CREATE ROLE guarded LOGIN PASSWORD 's3cret/word'")
            yield server
        finally:
            server.stop()


def _is_roomy(folder: str) -> bool:
    """For the servers of all processes of a run. Containers often have 64 MB there."""
    return Path(folder).is_dir() and shutil.disk_usage(folder).free > 2 << 30


def _only_with_a_password(file: Path, user: str) -> None:
    file.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{file.read_text()}")
