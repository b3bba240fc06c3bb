"""What a newcomer gets works as it is."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from mailer.campaigns import demo, preview, starter
from mailer.campaigns.loading import load
from mailer.campaigns.preflight import check
from mailer.campaigns.prepared import prepare
from mailer.cli import demonstration
from mailer.cli.reports import show_report
from mailer.errors import CampaignError
from mailer.settings import Settings


def test_init_writes_a_campaign_that_passes_the_check(tmp_path):
    folder = tmp_path / "news"

    written = starter.write(folder)

    assert written == ["mailer.toml", "campaign.toml", "recipients.csv", "templates/"]
    assert Settings.load(folder).backends.keys() == {"outbox"}
    spec = load(folder / "campaign.toml")
    with prepare(spec, template_root=folder / "templates") as prepared:
        report = check(prepared, processes=1)
        german = preview.of_row(prepared, address="juergen@example.org")
    assert (report.valid, report.invalid, report.findings, report.warnings) == (5, 0, (), ())
    assert german.subject == "Jürgen, Ihr November und 300 Punkte"
    assert "Grüße nach Köln" in german.text
    assert german.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_what_is_commented_out_can_be_uncommented(tmp_path):
    starter.write(tmp_path)
    file = tmp_path / "mailer.toml"
    lines = file.read_text().splitlines()
    live = [line.removeprefix("# ") if re.match(r"# (\[|\w+ = )", line) else line for line in lines]
    file.write_text("\n".join(live))
    (tmp_path / ".env").write_text("SMTP_PASSWORD=sesame\n")

    settings = Settings.load(tmp_path)

    assert settings.backends.keys() == {"outbox", "main"}
    assert settings.safety.redirect_to == "me@example.com"
    assert settings.safety.pause_at_errors == pytest.approx(0.05)
    assert settings.notify.webhook is not None


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "campaign.toml").write_text("mine")

    with pytest.raises(CampaignError, match=r"there is campaign\.toml already, and nothing was written"):
        starter.write(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["campaign.toml"]
    assert (tmp_path / "campaign.toml").read_text() == "mine"


def test_a_list_of_addresses_is_for_its_owner(tmp_path):
    starter.write(tmp_path)
    demo.write_demo(tmp_path / "demo", 5)

    assert (tmp_path / "recipients.csv").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "demo" / "recipients.csv").stat().st_mode & 0o777 == 0o600


def test_the_template_alone_can_be_looked_at():
    shown = preview.of_template(starter.templates(), "newsletter")

    assert shown.subject == "Ann, your November and 1,250 points"
    assert "1,250 points" in shown.text
    assert "December 31, 2026" in shown.html


def test_the_demo_is_the_same_each_time_and_can_be_written_again(tmp_path):
    def digest():
        demo.write_demo(tmp_path, 300)
        return hashlib.sha256((tmp_path / "recipients.csv").read_bytes()).hexdigest()

    assert digest() == digest()


def test_the_demo_has_what_lists_have(tmp_path):
    campaign = demo.write_demo(tmp_path)
    with prepare(load(campaign), template_root=tmp_path / "templates", files_root=tmp_path) as prepared:
        report = check(prepared, keep_rows=True)
        message = preview.of_row(prepared, row=2).message
    files = sum(row.files is not None for row in report.spool)
    report.close()

    assert (report.valid, report.invalid, report.duplicates) == (1200, 9, 2)
    assert report.findings == ()
    assert files == 1200
    assert len(report.lanes) > 20
    assert sum(lane.startswith("xn--") for lane in report.lanes) > 10
    assert report.largest[0] < 25_000
    kinds = [part.get_content_type() for part in message.walk()]
    assert {"text/plain", "text/html", "image/png", "application/pdf"} <= set(kinds)


def test_the_people_of_the_demo_are_distinct_and_speak_many_languages():
    people = list(demo.people(1200))

    assert len({row[0] for row in people}) == 1200
    assert len(Counter(row[4] for row in people)) == 13
    assert all(row[0].endswith((".example", ".example.com", ".example.net", "example.org")) for row in people)


def test_a_voucher_is_a_pdf():
    data = demo.voucher_pdf("NOV-0001", "valid until 2026-12-31")

    start = int(data.rsplit(b"startxref\n", 1)[1].split()[0])
    assert data[start:].startswith(b"xref\n0 6\n")
    first = int(data[start:].splitlines()[3].split()[0])
    assert data[first:].startswith(b"1 0 obj\n")


def test_the_readme_shows_what_the_demo_says_of_its_list(tmp_path, capsys):
    folder = tmp_path / "mailer-demo"
    spec = load(demo.write_demo(folder, 1200))
    with prepare(spec, template_root=folder / "templates", files_root=folder) as prepared:
        show_report(check(prepared))
    printed = capsys.readouterr().out.replace(str(tmp_path), "/home/you/mailer").splitlines()

    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    shown = readme.partition("anything is sent\n")[2].partition("3. Sending")[0]

    lines = [line for line in shown.splitlines() if line.strip() not in {"", "…"}]
    assert len(lines) == 8
    assert [line for line in lines if line not in printed] == []


def test_what_the_demo_keeps_of_arrivals_is_for_its_owner(tmp_path):
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    (tmp_path / "recipients.csv").write_text("Email,Language\na@example.com,de\n")
    (arrived / "1.eml").write_text("Subject: x\n\n")
    (arrived / "index.jsonl").write_text('{"recipients": ["a@example.com"], "file": "1.eml"}\n')

    (sample,) = demonstration._samples(tmp_path)

    assert (sample.name, sample.stat().st_mode & 0o777) == ("newsletter.de.eml", 0o600)
