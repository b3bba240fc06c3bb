"""Legacy applications: real clients hand mail to a real `mailer gateway`, and it leaves like all other."""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailer.ledger import open_ledger
from mailer.sink.certificate import Certificate
from tests.contract.providers.fake import serving
from tests.contract.providers.registry import ROLES
from tests.node.packages import node_packages
from tests.servers import PATIENCE, Process, free_port, need, need_file, wait_until
from tests.working import environment

MESSAGE = (
    "From: Shop <shop@acme.example>\r\nTo: ada@example.org, bob@example.org\r\nSubject: Rechnung für Sie\r\n"
    "Message-ID: <7@acme.example>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\n.Grüße\r\n"
)
PROGRAMS = Path(__file__).parents[1] / "programs"
JARS = ("jakarta-mail.jar", "jakarta-activation.jar")


@dataclass
class Entry:
    """A gateway in a process of its own, and a login for it."""

    folder: Path
    port: int
    certificate: Path
    user: str
    password: str
    process: Process

    @contextmanager
    def client(self) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("localhost", self.port, timeout=PATIENCE) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(self.certificate)))
            client.login(self.user, self.password)
            yield client

    def states(self) -> dict[str, str]:
        """By recipient."""
        ledger = open_ledger(f"sqlite:///{self.folder}/mailer.db")
        try:
            campaigns = ledger.campaigns.list()
            return {row.address: row.state.value for one in campaigns for row in ledger.results.rows(one.id)}
        finally:
            ledger.close()

    def sent(self) -> list[bytes]:
        return [file.read_bytes() for file in (self.folder / "out").glob("*.eml")]


@pytest.fixture
def entry(folder, certificate: Callable[..., Certificate], stack: ExitStack) -> Callable[..., Entry]:
    """``entry(url)`` sends everything through this backend."""

    def start(url: str = "file:out?format=eml") -> Entry:
        made, port = certificate(), free_port()
        folder.write(
            "mailer.toml",
            f'[backends.main]\nurl = "{url}"\n[gateway]\nport = {port}\n'
            f'certificate = "{made.cert}"\nkey = "{made.key}"\n',
        )
        made_key = folder.mailer("keys", "create", "--senders", "*@acme.example", "--json")
        text = made_key.json()["key"]
        command = [sys.executable, "-m", "mailer", "gateway"]
        process = Process(command, folder.path / "log", cwd=folder.path, env=environment())
        stack.callback(process.stop)
        process.wait_for_port(port)
        user, _, password = text.rpartition("_")
        return Entry(folder.path, port, made.cert, user, password, process)

    return start


def test_each_recipient_gets_it_and_has_a_state_of_its_own(entry):
    gateway = entry()
    with gateway.client() as client:
        client.sendmail("shop@acme.example", ["ada@example.org", "bob@example.org"], MESSAGE.encode())
        wait_until(lambda: set(gateway.states().values()) == {"accepted"}, "both")

    gateway.process.stop()
    assert gateway.sent() == [MESSAGE.encode()] * 2
    assert gateway.process.code == 0
    log = gateway.process.log.read_text()
    assert "Traceback" not in log
    assert "ada@" not in log
    assert gateway.password not in log


def test_an_application_that_speaks_smtp_leaves_through_a_providers_api(entry, stack: ExitStack):
    fake = stack.enter_context(serving(ROLES["postmark"].play))
    gateway = entry(ROLES["postmark"].address(fake.base))
    with gateway.client() as client:
        client.sendmail("shop@acme.example", ["ada@example.org", "bob@example.org"], MESSAGE.encode())

    wait_until(lambda: len(fake.taken) == 2, "both at the provider")
    wait_until(lambda: set(gateway.states().values()) == {"accepted"}, "their states")


def test_what_was_answered_with_250_is_there_after_a_kill(entry):
    gateway = entry()
    said: list[str] = []

    def send(name: str) -> None:
        with suppress(smtplib.SMTPException, OSError), gateway.client() as client:
            for number in range(1000):
                to = f"{name}-{number}@example.org"
                client.sendmail("shop@acme.example", [to], MESSAGE.encode())
                said.append(to)

    threads = [threading.Thread(target=send, args=(f"client{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(said) >= 20, "some messages")
    gateway.process.kill()
    for thread in threads:
        thread.join()

    assert set(said) <= gateway.states().keys()


def swaks(gateway: Entry) -> list[str]:
    return [
        need("swaks"), "--server", f"localhost:{gateway.port}", "--tls-verify", "--tls-ca-path",
        str(gateway.certificate), "--tls", "--auth", "LOGIN", "--auth-user", gateway.user, "--auth-password",
        gateway.password, "--from", "shop@acme.example", "--to", "ada@example.org",
        "--timeout", f"{PATIENCE:g}",
    ]  # fmt: skip


def curl(gateway: Entry) -> list[str]:
    return [
        need("curl"), "--silent", "--show-error", "--ssl-reqd", "--cacert", str(gateway.certificate),
        "--user", f"{gateway.user}:{gateway.password}", "--mail-from", "shop@acme.example", "--mail-rcpt",
        "ada@example.org", "--upload-file", "-", f"smtp://localhost:{gateway.port}",
    ]  # fmt: skip


def msmtp(gateway: Entry) -> list[str]:
    return [
        need("msmtp"), "--host=localhost", f"--port={gateway.port}", "--tls=on", "--tls-starttls=on",
        f"--tls-trust-file={gateway.certificate}", "--auth=plain", f"--user={gateway.user}",
        f"--passwordeval=echo {gateway.password}", "--from=shop@acme.example", "--", "ada@example.org",
    ]  # fmt: skip


def nodemailer(gateway: Entry) -> list[str]:
    library = node_packages("nodemailer") / "nodemailer"
    options = {
        "host": "localhost", "port": gateway.port, "requireTLS": True, "greetingTimeout": PATIENCE * 1000,
        "tls": {"ca": gateway.certificate.read_text()},
        "auth": {"user": gateway.user, "pass": gateway.password},
    }  # fmt: skip
    mail = {"from": "shop@acme.example", "to": "ada@example.org", "subject": "Hi", "text": "Hello."}
    script = (
        f"require({json.dumps(str(library))}).createTransport({json.dumps(options)})"
        f".sendMail({json.dumps(mail)}).catch(error => {{ console.error(error); process.exit(1) }})"
    )
    return [need("node"), "-e", script]


def phpmailer(gateway: Entry) -> list[str]:
    need_file("/usr/share/php/libphp-phpmailer/src/PHPMailer.php")
    return [need("php"), str(PROGRAMS / "send.php"), *_login(gateway)]


def jakarta_mail(gateway: Entry) -> list[str]:
    if shutil.which("javac") is None:
        pytest.skip("needs a Java development kit, which is too large to be installed for one test")
    path = ":".join(need_file(f"/usr/share/java/{jar}") for jar in JARS)
    return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", path, str(PROGRAMS / "Send.java"),
            *_login(gateway)]  # fmt: skip


def _login(gateway: Entry) -> list[str]:
    return [str(gateway.port), str(gateway.certificate), gateway.user, gateway.password]


@pytest.mark.parametrize("client", [swaks, curl, msmtp, nodemailer, phpmailer, jakarta_mail])
def test_real_clients_are_understood(entry, client):
    gateway = entry()

    done = subprocess.run(
        client(gateway),
        check=False,
        input=MESSAGE.encode(),
        capture_output=True,
        timeout=PATIENCE,
        env=os.environ,
    )

    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    wait_until(lambda: gateway.states() == {"ada@example.org": "accepted"}, "the message")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "set certificate and key (PEM files) under [gateway] in mailer.toml"),
        ('certificate = "cert.pem"', "certificate and key belong together"),
        ('certificate = "nowhere.pem"\nkey = "nowhere.pem"', "nowhere.pem cannot be used"),
        ('allow_networks = ["10.0.0.1/8"]', "gateway.allow_networks"),
        ('allow_networks = ["127.0.0.0/8"]\nrate = "fast"', "'fast' is not a rate"),
        ("prt = 587", "did you mean 'port'"),
    ],
)
def test_settings_that_cannot_work_are_said_before_anything_is_opened(folder, table, said):
    folder.write("mailer.toml", f'backend = "console:"\n[gateway]\n{table}\n')

    done = folder.mailer("gateway", "--port", "0")

    assert done.code == 2
    assert said in done.err
    assert not (folder.path / "mailer.db").exists()
