"""``mailer sink --web`` in a real browser: what arrives is seen, and can do nothing."""

from __future__ import annotations

import json
import signal
import smtplib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from email.message import EmailMessage

import pytest

from tests.servers import PATIENCE, need, wait_until

playwright = pytest.importorskip("playwright.sync_api")

HTML = '<html><body><h1>Hello Zoë</h1><img src="cid:logo@x" id="logo"></body></html>'
HOSTILE = """<html><body><h1>Hello Zoë</h1><script>parent.document.title = "owned"</script>
<img src="http://127.0.0.1:{port}/tracker.png"><form action="http://127.0.0.1:{port}/"></form></body></html>"""
#: The smallest GIF there is.
GIF = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")


def letter(subject: str, html: str = HTML) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "me@acme.example", "you@example.com", subject
    message.set_content("The text of it.")
    message.add_alternative(html, subtype="html")
    message.get_payload()[1].add_related(GIF, "image", "gif", cid="<logo@x>", filename="logo.gif")
    message.add_attachment(b"%PDF-1.4 x", "application", "pdf", filename="rechnung-ä.pdf")
    return message


class Sink:
    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "mailer", "sink", "--port", "0", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.url = json.loads(self.process.stdout.readline())["url"]

    def send(self, message: EmailMessage) -> None:
        with smtplib.SMTP("127.0.0.1", self.port) as smtp:
            smtp.send_message(message)

    def get(self, path: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(self.url + path, headers={"Host": host} if host else {})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, dict(refused.headers), refused.read()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def sink():
    sink = Sink("--web", "--web-port", "0")
    yield sink
    sink.stop()


@pytest.fixture
def browser():
    binary = need("chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=binary, args=quiet, timeout=PATIENCE * 1000)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """``opened(**viewport)``: a page in which a wait ends as late as elsewhere."""

    def opened(**viewport):
        page = browser.new_page(**viewport)
        page.set_default_timeout(PATIENCE * 1000)
        return page

    return opened


def test_mail_is_seen_as_it_arrives(sink, opened):
    sink.send(letter("First of all"))
    page = opened(viewport={"width": 1280, "height": 800})
    page.goto(sink.url)
    page.get_by_text("First of all").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Hello Zoë").wait_for()
    wait_until(lambda: frame.locator("#logo").evaluate("image => image.naturalWidth") == 1, "its picture")
    page.get_by_role("button", name="Phone").click()
    assert page.locator("iframe").bounding_box()["width"] == 375
    page.get_by_role("tab", name="Text").click()
    page.get_by_text("The text of it.").wait_for()
    page.get_by_role("tab", name="Headers").click()
    page.get_by_text("Decoded from RFC 2047.").wait_for()
    page.get_by_role("tab", name="Source").click()
    page.get_by_text("Content-Type: multipart/mixed").first.wait_for()
    page.get_by_role("link", name="rechnung-ä.pdf").wait_for()

    sink.send(letter("Second"))
    page.get_by_role("button", name="Second").wait_for()  # by itself
    page.get_by_label("Search").fill("second")
    page.get_by_role("button", name="First of all").wait_for(state="hidden")


def test_on_a_phone_everything_can_be_tapped_and_the_way_back_leads_to_the_list(sink, opened):
    sink.send(letter("For a thumb"))
    page = opened(viewport={"width": 390, "height": 760}, has_touch=True)
    page.goto(sink.url)
    page.get_by_role("button", name="For a thumb").tap()
    page.get_by_role("link", name="rechnung-ä.pdf").wait_for()
    assert page.title() == "For a thumb – mailer sink"

    heights = page.eval_on_selector_all(
        "button, a, input", "all => all.map(e => e.offsetHeight).filter(height => height)"
    )
    page.get_by_role("button", name="All messages").tap()
    page.get_by_label("Search").wait_for()

    assert len(heights) >= 7
    assert min(heights) >= 44, "WCAG 2.2, 2.5.5"
    assert page.title() == "mailer sink"


def test_mail_can_do_nothing(sink, opened):
    with socket.create_server(("127.0.0.1", 0)) as tracker:
        tracker.setblocking(False)
        port = tracker.getsockname()[1]
        sink.send(letter("<img src=x onerror=parent.document.title='owned'>", HOSTILE.format(port=port)))
        page = opened(viewport={"width": 390, "height": 844})
        page.goto(f"{sink.url}#1")
        page.frame_locator("iframe").get_by_role("heading", name="Hello Zoë").wait_for()
        page.wait_for_load_state("load")

        assert page.title().startswith("<img src=x")
        with pytest.raises(BlockingIOError):
            tracker.accept()
    assert page.get_by_role("button", name="← All messages").is_visible()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_odd_mail_spoils_neither_the_page_nor_the_next_message(sink, opened):
    plain = EmailMessage()
    plain["From"], plain["To"] = "me@acme.example", ", ".join(f"you{n}@example.com" for n in range(90))
    plain["Subject"] = "A subject that does not end " * 30
    plain.set_content("Only text.")
    plain.add_attachment(b"x", "application", "zip", filename="y" * 150 + ".zip")
    for message in (letter("With HTML"), plain):
        sink.send(message)
    page = opened(viewport={"width": 390, "height": 844})
    page.goto(f"{sink.url}#2")
    page.get_by_text("Only text.").wait_for()

    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert page.locator("#view").bounding_box()["height"] > 200
    page.get_by_role("button", name="← All messages").click()
    page.get_by_role("button", name="With HTML").click()
    page.frame_locator("iframe").get_by_role("heading", name="Hello Zoë").wait_for()
    page.goto(f"{sink.url}#3")
    page.get_by_text("There is no such message.").wait_for(state="attached")
    page.get_by_role("button", name="With HTML").wait_for()


def test_what_arrives_takes_nothing_away_from_who_looks_at_older_mail(sink, opened):
    with smtplib.SMTP("127.0.0.1", sink.port) as smtp:
        for number in range(201):
            smtp.sendmail("me@acme.example", "you@example.com", f"Subject: number {number}.\r\n\r\nx\r\n")
    page = opened()
    page.goto(sink.url)
    page.get_by_role("button", name="Older messages").click()
    page.get_by_role("button", name="number 0.").wait_for()

    sink.send(letter("Just in"))
    page.get_by_role("button", name="Just in").wait_for()

    assert page.get_by_role("button", name="number 0.").is_visible()
    assert page.locator("#list li").count() == 202


def test_only_this_machine_may_look(sink):
    sink.send(letter("x"))

    assert sink.get("messages", host="rebound.example")[0] == 421
    assert sink.get("messages/7")[0] == 404
    assert sink.get("pages/../web.py")[0] == 404
    status, headers, body = sink.get("messages/1/parts/4")
    assert (status, body) == (200, b"%PDF-1.4 x")
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''rechnung-%C3%A4.pdf"
    assert headers["content-type"] == "application/octet-stream"
    assert "script-src 'self'" in sink.get("")[1]["content-security-policy"]


def test_a_port_that_is_taken_is_said(sink):
    port = sink.url.rsplit(":", 1)[1].strip("/")
    command = [sys.executable, "-m", "mailer", "sink", "--port", "0", "--web", "--web-port", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)

    assert done.returncode == 2
    assert "--web-port" in done.stderr
    assert "Traceback" not in done.stderr
