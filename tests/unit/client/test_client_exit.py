"""An application that ends without having closed its Mailer."""

from __future__ import annotations

import socket

from mailer import Mailer
from mailer.message import FINAL, State
from mailer.publisher import Publisher
from tests.unit.client.conftest import DATA, in_an_application

#: Long enough for any machine: what is waited for comes.
PATIENT = "from mailer.submission import rooms\nrooms.EXIT_SECONDS = rooms.HINTS_SECONDS = 100.0\n"


def test_what_was_handed_over_is_delivered_before_the_process_ends(site):
    """Also from a thread that outlives the main one: the library's pools take nothing any more then."""
    script = f"""
import threading
from mailer import Mailer
mailer = Mailer()
def later():
    threading.main_thread().join()
    for n in range(3):
        mailer.send("receipt", to=f"later{{n}}@example.org", data={DATA!r})
threading.Thread(target=later).start()
mailer.send("receipt", to="ada@example.org", data={DATA!r})
"""
    done = in_an_application(site, PATIENT + script)

    assert (done.stderr.decode(), done.returncode) == ("", 0)
    sent = sorted(message["To"].split("@")[0] for message in site.sent())
    assert sent == ["ada", "later0", "later1", "later2"]


def test_what_is_sent_while_the_process_ends_is_stored(site):
    script = f"""
import atexit
from mailer import Mailer
mailer = Mailer(deliver="workers")
atexit.register(lambda: print(mailer.send("receipt", to="end@example.org", data={DATA!r}).id))
mailer.send("receipt", to="ada@example.org", data={DATA!r})
"""
    done = in_an_application(site, script)

    assert (done.stderr.decode(), done.returncode) == ("", 0)
    with Mailer(deliver="workers") as mailer:
        assert mailer.status(done.stdout.decode().strip()).to == "end@example.org"


def test_hints_are_published_before_the_process_ends(site, redis_server):
    script = f"""
from mailer import Mailer
Mailer(broker={redis_server.url!r}).send("receipt", to="ada@example.org", data={DATA!r})
"""
    done = in_an_application(site, PATIENT + script)

    assert (done.stderr.decode(), done.returncode) == ("", 0)
    publisher = Publisher(redis_server.url)
    assert publisher.waiting(["transactional"]) == 1
    publisher.close()


def test_nobody_is_waited_for_who_does_not_answer(site):
    """Neither the broker nor the mail server: what it handed over is in the ledger."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        script = f"""
from mailer import Mailer
from mailer.submission import rooms
rooms.EXIT_SECONDS = rooms.HINTS_SECONDS = 0.1
for way in ({{"broker": "redis://{where}/0"}}, {{"backend": "smtp://{where}?tls=none"}}):
    print(Mailer(**way).send("receipt", to="ada@example.org", data={DATA!r}).id)
"""
        done = in_an_application(site, script)

    assert done.returncode == 0
    assert "Traceback" not in done.stderr.decode()
    with Mailer(deliver="workers") as mailer:
        states = [mailer.status(id_).state for id_ in done.stdout.decode().split()]
    assert len(states) == 2
    assert not set(states) & (FINAL | {State.SENDING})


def test_a_child_that_has_used_nothing_ends_as_others_do(site):
    """libuv's threads are its parent's, who has looked up the name of a mail server."""
    script = """
import asyncio, os, sys
from mailer.delivery import loop
async def look_up():
    await asyncio.get_running_loop().getaddrinfo("localhost", None)
loop.run(look_up())
if (child := os.fork()) == 0:
    sys.exit()
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    done = in_an_application(site, script)

    assert (done.stdout.decode(), done.stderr.decode()) == ("0\n", "")
