"""A preview is the very message that would go out."""

from __future__ import annotations

import pytest

from mailer.campaigns import preview
from mailer.errors import CampaignError, ContentError, RecipientsError


def test_a_row_by_number_by_address_and_the_first_valid_one(desk):
    desk.say("list.csv", "email,First Name\nbad,Bea\nann@example.com,Ann\nBob@Example.com,Bob\n")
    with desk.prepared() as prepared:
        first = preview.of_row(prepared)
        second = preview.of_row(prepared, row=3)
        third = preview.of_row(prepared, address="bob@example.com")

    assert (first.row, first.line, first.address, first.subject) == (2, 3, "ann@example.com", "Hello Ann")
    assert second.text == third.text == "Hello Bob\n"
    assert second.message["To"] == "Bob@example.com"
    assert "<p>Hello Bob</p>" in second.html


def test_an_invalid_row_says_why(desk):
    desk.say("list.csv", "email,First Name\nbad,Bea\n")
    with desk.prepared() as prepared:
        with pytest.raises(
            RecipientsError, match=r"list\.csv, line 2, column 'email': An email address must"
        ):
            preview.of_row(prepared, row=1)
        with pytest.raises(RecipientsError, match="there is no row 9 in this list"):
            preview.of_row(prepared, row=9)
        with pytest.raises(RecipientsError, match=r"there is no 'x@example\.com' in this list"):
            preview.of_row(prepared, address="x@example.com")
        with pytest.raises(RecipientsError, match="there is no valid row in this list"):
            preview.of_row(prepared)


def test_a_row_that_cannot_be_rendered(desk):
    desk.say("templates/news/body.txt", "{{ nothing }}")
    with desk.prepared() as prepared, pytest.raises(ContentError, match="there is no 'nothing'"):
        preview.of_row(prepared)


def test_inline_images_are_in_the_page(desk):
    (desk.folder / "templates/news/dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    desk.say("templates/news/body.html", '<img src="dot.png" alt="">')
    with desk.prepared() as prepared:
        page = preview.of_row(prepared).html

    assert "data:image/png;base64,iVBORw0KGgo=" in page
    assert "cid:" not in page


def test_a_template_by_itself_uses_its_sample(desk):
    desk.say("templates/news/mail.toml", '[sample]\nfirst_name = "Ann"\n')

    shown = preview.of_template(desk.folder / "templates", "news")

    assert shown.text == "Hello Ann\n"
    assert shown.row is None
    assert (
        preview.of_template(desk.folder / "templates", "news", data={"first_name": "Bo"}).text == "Hello Bo\n"
    )


def test_a_template_without_a_sample_says_what_it_needs(desk):
    with pytest.raises(CampaignError, match=r"needs data for: first_name\n  Put a \[sample\] table"):
        preview.of_template(desk.folder / "templates", "news")
