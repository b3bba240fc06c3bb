"""A mistake is answered with what to do, exit code 2, and nothing sent."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.forked import talkative_command
from tests.servers import PATIENCE, free_port, wait_until

BAD_CAMPAIGNS = {
    "an unknown key": ('subjekt = "x"\n', ["subjekt", "subject"]),
    "no template of that name": ('template = "leter"\n', ["leter", "letter"]),
    "no recipients file": ('recipients = "nobody.csv"\n', ["nobody.csv"]),
    "a bad rate": ('rate = "fast"\n', ["fast", "20/s"]),
    "a bad sender": ('from = "Acme News"\n', ["Acme News"]),
    "an unknown backend": ('backend = "smpt://x"\n', ["smpt"]),
}


@pytest.mark.parametrize(("line", "told"), BAD_CAMPAIGNS.values(), ids=BAD_CAMPAIGNS)
def test_a_wrong_campaign_file(folder, line, told):
    key = line.split(" ")[0]
    kept = [text for text in folder.read("campaign.toml").splitlines() if not text.startswith(f"{key} ")]
    folder.write("campaign.toml", "\n".join([*kept, line]))
    backend = () if key == "backend" else ("--backend", "memory://x")

    done = folder.mailer("send", "campaign.toml", "--yes", *backend)

    assert done.code == 2, done.err
    assert all(word in done.err for word in told), done.err


BAD_LISTS = {
    "empty": ("", ["empty"]),
    "no address column": ("Name,Town\nAda,Rome\n", ["Name", "[columns]"]),
    "an unclosed quote": ('email,First Name\na@example.com,"Ada\nb@example.com,Bob\n', ["line 2"]),
    "a header twice": ("email,Town,Town\na@example.com,x,y\n", ["Town"]),
    "a header missing": ("email,,x\na@example.com,x,y\n", ["column 2"]),
}


@pytest.mark.parametrize(("text", "told"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_wrong_list(folder, text, told):
    folder.write("people.csv", text)

    done = folder.mailer("check", "campaign.toml")

    assert done.code == 2, done.err
    assert all(word in done.err for word in told), done.err


BAD_TEMPLATES = {
    "an unknown variable": ("Dear {{ firstname }},", ["firstname", "first_name", "body.txt", "line 1"]),
    "a syntax error": ("Dear {{ first_name },", ["body.txt", "line 1"]),
    "a missing include": ("x\n{% include 'foot.txt' %}", ["foot.txt", "line 2"]),
}


@pytest.mark.parametrize(("text", "told"), BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
def test_a_wrong_template(folder, text, told):
    folder.write("templates/letter/body.txt", text)

    done = folder.mailer("check", "campaign.toml")

    assert done.code == 2, done.err
    assert all(word in done.err for word in told), done.err


def test_an_unreachable_server(folder):
    done = folder.mailer(
        "send", "campaign.toml", "--yes", "--backend", f"smtp://127.0.0.1:{free_port()}?tls=none"
    )

    assert done.code == 2
    assert "refuses connections" in done.err
    assert "mailer doctor" in done.err
    assert folder.mailer("status", "--json").out == ""


def test_a_server_that_wants_another_password(folder, mailer_sink):
    sink = mailer_sink(auth=True, require_auth=True, user="me", password="sesame")
    folder.write(
        "mailer.toml",
        f'[backends.main]\nurl = "smtp://me:wrong-secret@127.0.0.1:{sink.port}?tls=none"\n',
    )

    done = folder.mailer("send", "campaign.toml", "--yes")

    assert done.code == 2
    assert "wrong-secret" not in done.err + done.out
    assert sink.count() == 0


def test_a_server_that_refuses_the_sender(folder, mailer_sink):
    sink = mailer_sink('[[rule]]\nat = "mail"\nreply = "550 5.7.1 sender not allowed"\n')

    done = folder.mailer("send", "campaign.toml", "--yes", "--backend", sink.url)

    assert done.code == 2, done.err
    assert "does not accept the sender's address. (550 5.7.1 sender not allowed)" in done.err
    assert "mailer resume" in done.err
    assert sink.count() == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_before_anything_was_sent(folder, sign):
    """Its rows take a millisecond each: the check does not end before it is interrupted."""
    folder.people([f"p{n}@example.com,{n}" for n in range(60_000)])
    folder.write("templates/letter/body.txt", "{% for n in range(30_000) %}{% endfor %}Dear {{ first_name }}")
    process = folder.fork(talkative_command, "send", "campaign.toml", "--yes", "--backend", "memory://x")
    wait_until(lambda: "checking: " in folder.read("err") or not process.running, "checking")

    process.stop(sign)

    assert process.code == 130
    assert "nothing was sent by this command yet" in folder.read("err")
    assert "Traceback" not in folder.read("err")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--where", "email == 'nobody'"], "5 do not match `where`"),
        (["--exclude", "people.csv"], "5 are on an exclude list"),
        (["--required", "town"], "5 are in /"),
    ],
)
def test_nobody_to_send_to(folder, arguments, told):
    folder.people([f"p{n}@example.com,{n}," for n in range(5)], header="email,First Name,Town")

    done = folder.mailer("send", "campaign.toml", "--yes", "--backend", "memory://x", *arguments)

    assert done.code == 2
    assert f"no row can be sent; {told}" in done.err
    assert "None" not in done.err


def test_no_backend_at_all(folder):
    done = folder.mailer("send", "campaign.toml", "--yes")

    assert done.code == 2
    assert "mailer.toml" in done.err


def test_asking_without_a_terminal_sends_nothing(folder):
    folder.write("mailer.toml", '[backends.far]\nurl = "smtp://192.0.2.1:587?tls=none"\n')

    done = folder.mailer("enqueue", "campaign.toml")

    assert done.code == 2
    assert "broker" in done.err


def test_a_campaign_that_is_not_there(folder):
    done = folder.mailer("status", "december")

    assert done.code == 2
    assert "december" in done.err


def test_an_unknown_command_and_option(folder):
    assert folder.mailer("sned").code == 2
    assert folder.mailer("send", "--fast").code == 2


def test_wrong_settings(folder):
    folder.write("mailer.toml", "leger = 1\n")

    done = folder.mailer("status")

    assert done.code == 2
    assert "ledger" in done.err


@pytest.mark.parametrize("key", ["templates", "files"])
def test_a_folder_of_the_settings_that_is_not_there(folder, key):
    """Also where the folder beside the campaign file would do."""
    folder.write("mailer.toml", f'{key} = "elsewhere"\n')

    done = folder.mailer("check", "campaign.toml")

    assert done.code == 2
    assert key in done.err
    assert "elsewhere" in done.err


def test_doctor_refuses_a_rate_that_is_none(folder):
    folder.write("mailer.toml", '[backends.a]\nurl = "memory:"\nlanes = { gmail = "many" }\n')

    done = folder.mailer("doctor")

    assert done.code == 2
    assert "backends.a.lanes.gmail: 'many' is not a rate" in done.err


def test_the_demo_replaces_only_a_demo(folder):
    done = folder.mailer("demo", "--dir", ".")

    assert done.code == 2
    assert "holds other things" in done.err
    assert folder.read("people.csv")


def test_a_full_disk_says_so(folder):
    """The ledger may not grow: what happens then is what a full disk does."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "sys.argv = ['mailer', *sys.argv[1:]]; from mailer.cli import main; main()"
    )
    folder.people([f"p{n}@example.com,{'x' * 500}" for n in range(2000)])
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code, "send", "campaign.toml", "--yes", "--backend", "memory://x"],
        cwd=folder.path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "full" in done.stderr or "room" in done.stderr or "too large" in done.stderr, done.stderr


def test_check_names_what_is_odd_and_sends_nothing(folder):
    folder.people(["ada@example.com,Ada", "bob@,Bob", "eve@example.com,"])

    done = folder.mailer("check", "campaign.toml", "--json")

    assert done.code == 1
    told = json.loads(done.out)
    assert (told["rows"], told["valid"], told["invalid"]) == (3, 2, 1)
    assert told["empty"] == {"first_name": 1}
