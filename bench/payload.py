"""One mail for every sender: text and HTML of about 4 kB together, with three merge fields."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

_PARAGRAPH = (
    "The days are getting shorter, and there is more time to read. This month we look at what the "
    "harvest brought, which markets opened again, and how the new routes work out for those who use them."
)

TEXT = "\n\n".join(
    [
        "Dear {{ first_name }},",
        *[_PARAGRAPH] * 4,
        "You are on the {{ plan }} plan and have {{ points }} points.",
        "Acme News, 1 Example Road, Example Town",
    ]
)

HTML = (
    '<!doctype html><html><head><meta charset="utf-8"><title>News</title></head>'
    '<body style="margin:0;font-family:Arial,sans-serif"><table role="presentation" width="100%"><tr><td>'
    "<h1>Dear {{ first_name }},</h1>"
    + "".join(f'<p style="line-height:1.5;color:#333333">{_PARAGRAPH}</p>' for _ in range(11))
    + "<p>You are on the <b>{{ plan }}</b> plan and have <b>{{ points }}</b> points.</p>"
    + "<p>Acme News, 1 Example Road, Example Town</p></td></tr></table></body></html>"
)

SUBJECT = "{{ first_name }}, your November"
SENDER = "Acme News <news@acme.example>"
FIELDS = ("first_name", "plan", "points")
_NAMES = ("Ada", "Björn", "Chiara", "Dmitri", "Eve", "Fatima", "Grace", "Hiro")


def rows(number: int) -> Iterator[dict[str, str]]:
    """Recipients as dicts, the same ones for everybody."""
    for n in range(number):
        yield {
            "email": f"user{n}@example.com",
            "first_name": _NAMES[n % 8],
            "plan": "pro" if n % 3 else "free",
            "points": str(n * 7 % 10_000),
        }


def write(folder: Path, number: int) -> None:
    """A campaign folder with ``number`` recipients, and the same mail as plain files for the others."""
    mail = folder / "templates" / "newsletter"
    mail.mkdir(parents=True, exist_ok=True)
    (mail / "body.html").write_text(HTML, encoding="utf-8")
    (mail / "body.txt").write_text(TEXT, encoding="utf-8")
    (mail / "subject.txt").write_text(SUBJECT, encoding="utf-8")
    with (folder / "recipients.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("email", *FIELDS))
        writer.writeheader()
        writer.writerows(rows(number))
    (folder / "campaign.toml").write_text(
        f'name = "Bench"\nfrom = "{SENDER}"\nsubject = "{SUBJECT}"\ntemplate = "newsletter"\n'
        'recipients = "recipients.csv"\nbackend = "sink"\nstream = "transactional"\n',
        encoding="utf-8",
    )
