"""Every row is proved before anything leaves, and nothing that a row or a template does stops that."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from mailer.campaigns.preflight import check
from mailer.errors import RecipientsError, StateConflict, TemplateError
from tests.servers import PATIENCE


def checked(desk, **options):
    with desk.prepared() as prepared:
        report = check(prepared, processes=2, **options)
        report.close()
        return report


def invalid_rows(desk):
    with (desk.folder / "campaign.invalid.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_good_list(desk):
    desk.people(1203)
    seen = []

    report = checked(desk, on_progress=seen.append, estimate=lambda lanes: lanes["example.com"] / 10)

    assert (report.valid, report.invalid, report.tally.rows, report.rendered) == (1203, 0, 1203, 1203)
    assert report.lanes == Counter({"example.com": 1203})
    assert report.estimate == 120.3
    assert report.compiled.used == {"first_name"}
    assert report.described == "CSV, comma, UTF-8"
    assert b"Hello Name 1\r\n" in report.sample
    assert 300 < report.median_size <= report.largest[0] < 2000
    assert seen == sorted(seen)
    assert seen[-1] == 1203
    assert report.invalid_file is None
    assert not (desk.folder / "campaign.invalid.csv").exists()


def test_bad_rows_are_put_aside_and_the_good_ones_go_on(desk):
    desk.say(
        "list.csv",
        "email,First Name,City\n"
        "ann@example.com,Ann,\n"
        "bad,Bob,Rome\n"
        "ann@example.com,Ann,Oslo\n"
        "c@example.com,Cy,\n",
    )
    desk.say("templates/news/body.txt", "Hello {{ first_name }} in {{ city }}\n")

    report = checked(desk, keep_rows=True)

    assert (report.valid, report.invalid, report.duplicates) == (2, 2, 1)
    assert report.empty == Counter({"city": 2})
    assert [row[:3] for row in invalid_rows(desk)] == [
        ["line", "column", "reason"],
        ["3", "email", "An email address must have an @-sign."],
        ["4", "email", "duplicate of line 2"],
    ]
    assert invalid_rows(desk)[2][3:] == ["ann@example.com", "Ann", "Oslo"]
    assert (desk.folder / "campaign.invalid.csv").stat().st_mode & 0o777 == 0o600
    assert {text: (one.count, one.first_line) for text, one in report.reasons.items()} == {
        "email: An email address must have an @-sign.": (1, 3),
        "duplicate": (1, 4),
    }


def test_the_same_fault_with_other_values_is_one_reason(desk):
    desk.people(3)
    desk.say("campaign.toml", desk.campaign + 'attachments = ["bills/{{ first_name }}.pdf"]\n')

    ((text, reason),) = checked(desk).reasons.items()

    assert text == "attachment '…' cannot be read: No such file or directory"
    assert (reason.count, reason.first_line) == (3, 2)
    assert "'bills/Name 1.pdf'" in reason.example


def test_kept_rows_are_what_the_ledger_needs(desk):
    desk.say("list.csv", "email,First Name\nbad,x\nann@EXAMPLE.com,Zoë\n")
    with desk.prepared() as prepared:
        report = check(prepared, processes=1, keep_rows=True)

    (row,) = report.spool
    report.close()

    assert (row.ordinal, row.line, row.address, row.lane, row.files) == (
        2,
        3,
        "ann@example.com",
        "example.com",
        None,
    )
    assert row.cells == '{"email": "ann@EXAMPLE.com", "First Name": "Zoë"}'


def test_a_row_that_cannot_be_rendered_is_invalid(desk):
    desk.say("list.csv", "email,First Name,Amount\na@example.com,Ann,5\nb@example.com,Bob,0\n")
    desk.say("templates/news/body.txt", "{{ 10 / (amount | int) }}\n")

    report = checked(desk)

    assert (report.valid, report.invalid, report.unrendered) == (1, 1, 1)
    assert invalid_rows(desk)[1] == [
        "3",
        "",
        "news/body.txt, line 1: division by zero",
        "b@example.com",
        "Bob",
        "0",
    ]


def test_a_duplicate_of_a_row_that_cannot_be_rendered_is_sent(desk):
    desk.say("list.csv", "email,First Name,Amount\na@example.com,Ann,0\na@example.com,Ann,5\n")
    desk.say("templates/news/body.txt", "{{ 10 / (amount | int) }}\n")

    report = checked(desk)

    assert (report.valid, report.unrendered, report.duplicates) == (1, 1, 0)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "body.txt",
            "Hello\n{{ frist_name }}\n",
            "body.txt, line 2: there is no 'frist_name' (so in every row)\n  Did you mean",
        ),
        ("body.txt", "Hello\n{% if %}\n", "news/body.txt, line 2: "),
        ("body.html", '{% include "footer.html" %}', "it uses 'footer.html', which does not exist"),
        ("body.html", '{% extends "_layouts/none.html" %}', "'_layouts/none.html'"),
    ],
)
def test_a_template_that_fails_for_everybody_stops_the_check(desk, name, text, expected):
    desk.people(600)
    desk.say(f"templates/news/{name}", text)

    with pytest.raises(TemplateError) as caught:
        checked(desk)

    assert expected in str(caught.value)
    assert caught.value.exit_code == 2
    assert not list(desk.folder.glob("*.invalid.csv*"))


def test_attachments_that_are_missing_are_named(desk):
    desk.say(
        "campaign.toml", (desk.folder / "campaign.toml").read_text() + 'attachments = ["f/{{ email }}.txt"]\n'
    )
    desk.say("f/user2@example.com.txt", "two")

    with desk.prepared() as prepared:
        report = check(prepared, processes=1, keep_rows=True)
    (row,) = report.spool
    report.close()

    assert [row.reason for row in report.first_invalid] == [
        "attachment 'f/user1@example.com.txt' cannot be read: No such file or directory",
        "attachment 'f/user3@example.com.txt' cannot be read: No such file or directory",
    ]
    assert row.address == "user2@example.com"
    assert '"path": "f/user2@example.com.txt", "size": 3, "sha256": "3fc4ccfe' in row.files


def test_a_large_page_is_noticed_and_a_large_attachment_is_not(desk):
    desk.say("campaign.toml", f'{desk.campaign}attachments = ["big.bin"]\n')
    desk.say("big.bin", "x" * 200_000)
    desk.say("list.csv", "email,First Name,Times\na@example.com,Ann,1\nb@example.com,Bob,9000\n")
    desk.say(
        "templates/news/body.html", "{% for i in range(times | int) %}<p>Hello number {{ i }}</p>{% endfor %}"
    )

    report = checked(desk)

    assert report.clipped == 1
    assert report.largest[1] == 3


#: What authors do by mistake, and others on purpose. Some get past the sandbox's own limits.
BOMBS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a recursion that doubles": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}"
    ),
    "a number": "{{ 9 ** 999999999 }}",
    "a multiplication": "{{ 'A' * 10 ** 9 }}",
    "a pad": "{{ 'A' | center(10 ** 9) }}",
    "wordwrap": "{{ ('A' * 900000) | wordwrap(1) }}",
    "endless output": "{% for a in range(99999) %}{% for b in range(999) %}AAAAAA{% endfor %}{% endfor %}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_template_bomb_is_ended_and_named(desk, bomb):
    desk.people(5)
    desk.say("templates/news/body.txt", BOMBS[bomb])
    before = os.times()

    with pytest.raises(TemplateError) as caught:
        checked(desk)

    spent = os.times().children_user - before.children_user
    assert spent < 10  # processor seconds, so a busy machine changes nothing
    assert "news" in str(caught.value)


def test_one_row_that_runs_away_costs_only_itself(desk):
    """Its data make the template run away; the rows around it are proved all the same."""
    rows = "".join(f"user{n}@example.com,{99999 if n == 7 else n}\n" for n in range(1, 41))
    desk.say("list.csv", f"email,First Name\n{rows}")
    desk.say(
        "templates/news/body.txt",
        "{% set n = first_name | int %}"
        "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}",
    )

    report = checked(desk)

    assert (report.valid, report.invalid) == (39, 1)
    assert invalid_rows(desk)[1][:4] == [
        "8",
        "",
        "rendering this row took more than 1 s of processor time",
        "user7@example.com",
    ]


def test_a_row_that_takes_all_memory_costs_only_itself(desk):
    desk.say("list.csv", "email,First Name\na@example.com,1\nb@example.com,40\nc@example.com,2\n")
    desk.say(
        "templates/news/body.txt",
        "{% macro d(s, n) %}{% if n %}{{ d(s ~ s, n - 1) }}{% endif %}{% endmacro %}"
        "{{ d('AAAAAAAAAAAAAAAA', first_name | int) }}",
    )

    report = checked(desk)

    assert (report.valid, report.invalid) == (2, 1)
    assert report.first_invalid[0].line == 3


def test_suppressed_addresses_are_counted(desk):
    class Suppressed:
        def among(self, addresses, stream):
            return {address for address in addresses if stream == "bulk" and address.startswith("user2@")}

    assert checked(desk, suppressions=Suppressed()).suppressed == 1


def test_a_list_that_changes_while_it_is_read_is_refused(desk):
    desk.people(600)
    with desk.prepared() as prepared, pytest.raises(StateConflict, match="changed while it was read"):
        check(prepared, processes=1, on_progress=lambda rows: desk.people(700))
    assert not list(desk.folder.glob("*.invalid.csv*"))


def test_a_list_that_cannot_be_read_on_leaves_no_file(desk):
    desk.say("list.csv", 'email,First Name\na@example.com,"Ann\nb@example.com,Bob\n')
    with pytest.raises(RecipientsError, match="line 2"):
        checked(desk)
    assert not list(desk.folder.glob("*.invalid.csv*"))


def test_where_and_exclude(desk):
    desk.say("gone.csv", "email\nuser2@example.com\n")
    text = (desk.folder / "campaign.toml").read_text()
    desk.say("campaign.toml", f'{text}exclude = ["gone.csv"]\nwhere = "first_name != \'Name 3\'"\n')

    report = checked(desk)

    assert (report.valid, report.tally.filtered, report.tally.excluded) == (1, 1, 1)


def test_children_go_when_their_parent_is_killed(desk):
    """Nothing is left behind that would go on rendering."""
    desk.people(50_000)
    code = (
        "import sys; from pathlib import Path\n"
        "from mailer.campaigns.preflight import check\n"
        "from mailer.campaigns.prepared import prepare\n"
        "from mailer.campaigns.loading import load\n"
        "with prepare(load(Path(sys.argv[1])), template_root=Path(sys.argv[2])) as prepared:\n"
        "    check(prepared, processes=1, on_progress=lambda rows: print(rows, flush=True))\n"
    )
    arguments = [str(desk.folder / "campaign.toml"), str(desk.folder / "templates")]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        parent.stdout.readline()
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while alive(parent.pid):
        assert time.monotonic() < until, "a child is left"
        time.sleep(0.05)


def alive(group):
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
