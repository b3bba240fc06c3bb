"""The backends that need no network: what each does with a message, and with a fault."""

import asyncio
import errno
import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mailer.backends import connect, urls
from mailer.backends.console import readable
from mailer.backends.memory import MemoryBackend
from mailer.backends.sendmail import EXITS, outcome_of
from mailer.errors import BackendUnusable, ConfigError
from mailer.message import (
    Accepted,
    Blocked,
    Deferred,
    Fenced,
    Outgoing,
    Phase,
    Rejected,
    Reply,
    Unknown,
)
from tests.servers import PATIENCE, need, wait_until


def outgoing(number: int = 1, to: tuple[str, ...] = ("ada@example.org",), **values: object) -> Outgoing:
    data = f"From: <news@acme.example>\r\nTo: <{to[0]}>\r\nSubject: s\r\n\r\n.hello\r\n".encode()
    given = {
        "content": data,
        "sender": "news@acme.example",
        "message_id": f"<{number}@acme.example>",
    } | values
    return Outgoing(id=number, fence=1, recipients=to, **given)


async def yes(_: Outgoing) -> bool:
    return True


def backend(url: str, **values: object):
    return connect(urls.parse("main", url, **values))


# file


async def test_a_maildir_holds_one_copy_however_often_it_is_sent(tmp_path):
    box = backend(f"file:{tmp_path}/box")
    message = outgoing()
    (first,) = await box.send([message], yes)
    (second,) = await box.send([message], yes)
    (path,) = (tmp_path / "box" / "new").iterdir()

    assert first.reference == second.reference == path.name
    assert path.read_bytes().endswith(b"\n\n.hello\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


async def test_a_message_that_was_read_is_not_delivered_anew(tmp_path):
    box = backend(f"file:{tmp_path}/box")
    await box.send([outgoing()], yes)
    (path,) = (tmp_path / "box" / "new").iterdir()
    path.rename(tmp_path / "box" / "cur" / f"{path.name}:2,S")

    await box.send([outgoing(attempt=2)], yes)

    assert list((tmp_path / "box" / "new").iterdir()) == []
    assert [path.name for path in (tmp_path / "box" / "cur").iterdir()] == [f"{path.name}:2,S"]


async def test_other_readers_see_the_maildir(tmp_path):
    import mailbox

    await backend(f"file:{tmp_path}/box").send([outgoing(number) for number in range(3)], yes)
    assert [message["Subject"] for message in mailbox.Maildir(tmp_path / "box", create=False)] == ["s"] * 3


async def test_a_fenced_message_leaves_no_draft(tmp_path):
    async def no(_: Outgoing) -> bool:
        return False

    box = backend(f"file:{tmp_path}/box?format=eml")
    assert await box.send([outgoing()], no) == [Fenced()]
    assert list((tmp_path / "box").iterdir()) == []


async def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await backend("file:outbox?format=eml").send([outgoing()], yes)
    assert len(list((tmp_path / "outbox").glob("*.eml"))) == 1


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """The operating system says no, the first time."""
    real, left = getattr(os, name), [1]

    def failing(*args: object) -> object:
        if left.pop() if left else False:
            raise OSError(code, os.strerror(code))
        return real(*args)

    monkeypatch.setattr(os, name, failing)


async def test_a_full_disk_defers_what_did_not_fit(tmp_path, monkeypatch):
    box = backend(f"file:{tmp_path}/box")
    fail_once(monkeypatch, "fsync", errno.ENOSPC)
    outcomes = await box.send([outgoing(1), outgoing(2), outgoing(3)], yes)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Accepted", "Accepted", "Deferred"]
    assert len(list((tmp_path / "box" / "new").iterdir())) == 2
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


async def test_a_full_disk_for_all_makes_it_unusable_for_now(tmp_path, monkeypatch):
    box = backend(f"file:{tmp_path}/box")
    fail_once(monkeypatch, "fsync", errno.ENOSPC)
    with pytest.raises(BackendUnusable, match="No space left") as caught:
        await box.send([outgoing(1)], yes)
    assert not caught.value.lasting


async def test_a_folder_that_cannot_be_made_is_a_lasting_fault(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BackendUnusable, match="Not a directory") as caught:
        await backend(f"file:{tmp_path}/file/box").send([outgoing()], yes)
    assert caught.value.lasting


async def test_a_folder_entry_that_is_not_confirmed_is_unknown(tmp_path, monkeypatch):
    box = backend(f"file:{tmp_path}/box")
    await box.probe()
    monkeypatch.setattr(
        "mailer.backends.file._sync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "I/O"))
    )
    (outcome,) = await box.send([outgoing()], yes)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("url", ["file:", "file:///", "file://host/path"])
def test_a_path_is_needed(url):
    with pytest.raises(ConfigError, match="a path is expected"):
        backend(url)


# Crash points: the process dies there, and this is what it leaves.


@pytest.mark.parametrize(
    ("point", "delivered"),
    [
        ("before_mark", 0),
        ("after_mark", 0),
        ("before_dot", 0),
        ("after_dot", 1),
        ("after_reply", 1),
    ],
)
@pytest.mark.parametrize("scheme", ["file", "sendmail"])
def test_a_crash_leaves_all_or_nothing(tmp_path, scheme, point, delivered):
    box = tmp_path / "box" / "new"
    keep = f'cat >"{tmp_path}/part"; mkdir -p "{box}"; mv "{tmp_path}/part" "{box}/1"'
    sendmail = shim(tmp_path, keep)
    url = f"file:{tmp_path}/box" if scheme == "file" else sendmail
    script = f"""
        import asyncio
        from mailer.backends import connect, urls
        from mailer.message import Outgoing
        async def mark(message):
            return True
        message = Outgoing(1, 1, "a@x.example", ("b@y.example",), b"S: x\\r\\n\\r\\nhi\\r\\n", "<1@x>")
        asyncio.run(connect(urls.parse("main", {url!r})).send([message], mark))
    """
    environment = os.environ | {"MAILER_CRASH_AT": point}
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, check=False)
    assert ended.returncode == 137
    if delivered:  # a program that was started goes on without us, and has the whole message
        wait_until(lambda: list(box.glob("*")), "the message to arrive")
    assert [path.read_bytes() for path in box.glob("*")] == [b"S: x\n\nhi\n"] * delivered


# console


def test_a_message_is_readable():
    data = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@acme.example>\r\nSubject: =?utf-8?b?4pyTIGRvbmU=?=\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Gr=C3=BC=C3=9Fe\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b\r\n"
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n"
    )
    shown = readable(outgoing(content=data, to=("ada@example.org", "copy@example.org")))
    assert shown.splitlines()[1:] == [
        "MAIL FROM:<news@acme.example>",
        "RCPT TO:<ada@example.org>",
        "RCPT TO:<copy@example.org>",
        "",
        "From: Jürgen <j@acme.example>",
        "Subject: ✓ done",
        "MIME-Version: 1.0",
        'Content-Type: multipart/mixed; boundary="b"',
        "",
        "Grüße",
        "[text/html, 8 octets]",
        "[application/pdf, a.pdf, 3 octets]",
        "=" * 78,
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: \x1b]0;owned\x07\r\n\r\n\x1b[2J\xc2\x9b31m",
        b"Subject: =?utf-8?q?=1b[2J?=\r\n\r\n",
        b"Content-Type: text/plain; charset=no-such\r\n\r\n\x1b[2J",
        b"Subject: =?no-such?q?x?=\r\nContent-Type: multipart/mixed\r\n\r\nx",
        b"",
    ],
)
def test_a_message_cannot_steer_the_terminal(data):
    shown = readable(outgoing(content=data))
    assert all(character.isprintable() or character == "\n" for character in shown)


async def test_stderr_leaves_stdout_alone(capsys):
    await backend("console://stderr").send([outgoing()], yes)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ".hello" in captured.err


def test_a_reader_that_leaves_makes_it_unusable():
    script = """
        import asyncio, os, sys
        from mailer.backends import connect, urls
        from mailer.errors import BackendUnusable
        from mailer.message import Outgoing
        async def mark(message):
            return True
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
        message = Outgoing(1, 1, "a@x.example", ("b@y.example",), b"S: x\\r\\n\\r\\nhi\\r\\n", "<1@x>")
        try:
            asyncio.run(connect(urls.parse("main", "console:")).send([message], mark))
        except BackendUnusable as error:
            os.write(2, str(error).encode())
            os._exit(3)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (3, b"backend 'main': stdout: Broken pipe")


def test_other_streams_are_refused():
    with pytest.raises(ConfigError, match="expected console:"):
        backend("console://stdlog")


# memory


async def test_a_script_of_outcomes():
    later = Deferred(Reply("greylisted", 451, "4.7.1", Phase.RCPT))
    lost = Unknown(Reply("", phase=Phase.DOT))
    marked = []

    async def mark(message: Outgoing) -> bool:
        marked.append(message.id)
        return True

    box = MemoryBackend(outcomes={"*@grey.example": [later, later], "*@lost.example": lost})
    grey, gone = outgoing(1, ("a@grey.example",)), outgoing(2, ("b@LOST.example",))

    assert [await box.send([grey], mark) for _ in range(2)] == [[later], [later]]
    assert marked == []
    assert isinstance((await box.send([grey], mark))[0], Accepted)
    assert await box.send([gone], mark) == [lost]
    assert list(box.messages) == [grey, gone]
    assert marked == [1, 2]


async def test_a_refusal_of_the_body_comes_after_the_mark():
    box = MemoryBackend(outcomes={"*": Rejected(Reply("spam", 550, phase=Phase.DOT))})
    marked = []

    async def mark(message: Outgoing) -> bool:
        marked.append(message.id)
        return True

    await box.send([outgoing()], mark)
    assert marked == [1]
    assert not box.messages


async def test_only_the_last_ones_are_kept():
    box = backend("memory:?keep=2")
    await box.send([outgoing(number) for number in range(5)], yes)
    assert [message.id for message in box.messages] == [3, 4]


# sendmail


def shim(tmp_path: Path, body: str) -> str:
    """A program in the place of sendmail; ``$BOX`` is the test's folder."""
    program = tmp_path / "sendmail"
    program.write_text(f"#!/bin/sh\nBOX='{tmp_path}'\n{body}\n")
    program.chmod(0o700)
    return f"sendmail://{program}"


async def test_arguments_and_input(tmp_path):
    url = shim(tmp_path, 'printf "%s\\n" "$@" >"$BOX/args"; cat >"$BOX/in"')
    message = outgoing(to=("ada@example.org", "-oQ/tmp@example.org"))
    (outcome,) = await backend(f"{url}?args=-C%20%22/etc/my%20rc%22").send([message], yes)
    assert isinstance(outcome, Accepted)
    assert (tmp_path / "args").read_text().splitlines() == [
        "-C", "/etc/my rc", "-i", "-f", "news@acme.example", "--", "ada@example.org", "-oQ/tmp@example.org",
    ]  # fmt: skip
    assert (tmp_path / "in").read_bytes() == message.data.replace(b"\r\n", b"\n")


async def test_the_null_sender_is_an_empty_argument(tmp_path):
    url = shim(tmp_path, 'cat >/dev/null; test "$2" = -f && test "$3" = "" && exit 0; exit 64')
    assert isinstance((await backend(url).send([outgoing(sender="")], yes))[0], Accepted)


@pytest.mark.parametrize("code", sorted(EXITS))
async def test_exit_codes(tmp_path, code):
    url = shim(tmp_path, f"cat >/dev/null; echo 'it did not work' >&2; exit {code}")
    (outcome,) = await backend(url).send([outgoing()], yes)
    kind, reason = EXITS[code]
    assert isinstance(outcome, kind)
    assert outcome.reply == Reply("it did not work", phase=Phase.REQUEST, reason=reason)


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, "queued", Accepted),
        (1, "", Deferred),
        (67, "", Rejected),
        (69, "msmtp: server message: 550 5.1.1 no such user\nmsmtp: could not send mail", Rejected),
        (69, "msmtp: server message: 451 4.7.1 greylisted", Deferred),
        (65, "msmtp: server message: 550-5.7.26 unauthenticated", Blocked),
        (77, "msmtp: server message: 535 5.7.8 bad login", Blocked),
        (65, "the message has 500 lines and 450 words", Rejected),
        (-9, "", Unknown),
        (137, "", Unknown),
    ],
)
def test_what_an_exit_means(code, output, expected):
    assert isinstance(outcome_of(code, output), expected)


async def test_a_refused_address_is_bad_for_ever():
    assert outcome_of(67, "").suppress
    assert outcome_of(69, "x: server message: 550 5.1.1 no such user").suppress
    assert not outcome_of(65, "").suppress


async def test_a_program_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    url = shim(tmp_path, 'cat >/dev/null; sleep 600 & echo $! >"$BOX/child"; wait')
    sending = asyncio.create_task(backend(f"{url}?timeout=300").send([outgoing()], yes))
    child = await child_of(tmp_path)
    loop, real, ahead = asyncio.get_running_loop(), time.monotonic, [0.0]
    monkeypatch.setattr(loop, "time", lambda: real() + ahead[0])
    while not sending.done():  # the program may have begun before its time does
        ahead[0] += 300.0
        await asyncio.sleep(0.02)
    (outcome,) = await sending
    assert isinstance(outcome, Unknown)
    wait_until(lambda: not alive(child), "the child to end")


async def child_of(box: Path) -> int:
    """The process that the program has started and written down."""
    async with asyncio.timeout(PATIENCE):
        while not (box / "child").exists() or not (box / "child").read_text().endswith("\n"):
            await asyncio.sleep(0.005)
    return int((box / "child").read_text())


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for yet is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_that_stays_behind_does_not_hold_us_up(tmp_path):
    url = shim(tmp_path, 'cat >/dev/null; sleep 60 & echo $! >"$BOX/child"; exit 0')
    (outcome,) = await backend(f"{url}?timeout=30").send([outgoing()], yes)
    os.kill(int((tmp_path / "child").read_text()), 9)
    assert isinstance(outcome, Accepted)


async def test_a_program_that_does_not_read_is_believed(tmp_path):
    url = shim(tmp_path, "exit 75")
    message = outgoing(content=b"x\r\n" * 200_000)
    assert isinstance((await backend(url).send([message], yes))[0], Deferred)


async def test_no_more_processes_than_connections(tmp_path):
    url = shim(tmp_path, 'cat >/dev/null; mkdir "$BOX/run" || exit 78; sleep 0.02; rmdir "$BOX/run"')
    outcomes = await backend(url, connections=1).send([outgoing(number) for number in range(5)], yes)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 5


async def test_closing_waits_for_what_runs(tmp_path):
    url = shim(tmp_path, 'touch "$BOX/started"; cat >/dev/null; sleep 0.2; touch "$BOX/done"')
    box = backend(url)
    sending = asyncio.create_task(box.send([outgoing()], yes))
    while not (tmp_path / "started").exists():
        await asyncio.sleep(0.005)
    await box.close()
    assert (tmp_path / "done").exists()
    await sending


async def test_a_cancelled_send_leaves_no_process(tmp_path):
    url = shim(tmp_path, 'cat >/dev/null; sleep 600 & echo $! >"$BOX/child"; wait')
    sending = asyncio.create_task(backend(url).send([outgoing()], yes))
    child = await child_of(tmp_path)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    wait_until(lambda: not alive(child), "the child to end")


def test_the_options_are_checked():
    with pytest.raises(ConfigError, match="option 'args'"):
        backend("sendmail:?args=%22")
    with pytest.raises(ConfigError, match="absolute path"):
        backend("sendmail://msmtp")


def msmtp(port: int) -> str:
    options = f"--host=127.0.0.1 --port={port} --auth=off --tls=off"
    return f"sendmail://{need('msmtp')}?args={options.replace(' ', '%20')}"


async def test_msmtp_delivers(smtp_sink):
    sink = smtp_sink()
    box = backend(msmtp(sink.port))
    outcomes = await box.send([outgoing(number, (f"r{number}@example.org",)) for number in range(3)], yes)
    await box.close()
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
    assert sorted(sink.recipients()) == [f"r{number}@example.org" for number in range(3)]
    assert sink.messages()[0].sender == "news@acme.example"
    assert sink.messages()[0].data.endswith(b"\n\n.hello\n")


async def test_msmtp_reports_what_the_server_said(mailer_sink):
    sink = mailer_sink(
        """
        [[rule]]
        at = "rcpt"
        match = "*@gone.example"
        reply = "550 5.1.1 no such user"
        [[rule]]
        at = "rcpt"
        match = "*@grey.example"
        reply = "451 4.7.1 greylisted"
        [[rule]]
        at = "dot"
        match = "*@lost.example"
        drop = "after-dot"
        """
    )
    batch = [outgoing(number, (f"x@{kind}.example",)) for number, kind in enumerate(("gone", "grey", "lost"))]
    outcomes = await backend(msmtp(sink.port)).send(batch, yes)
    assert [type(outcome) for outcome in outcomes] == [Rejected, Deferred, Unknown]
    assert outcomes[0].suppress
    assert outcomes[1].reply.code == 451


async def test_msmtp_without_a_server_punishes_nobody():
    from tests.servers import free_port

    (outcome,) = await backend(msmtp(free_port())).send([outgoing()], yes)
    assert isinstance(outcome, Deferred)
