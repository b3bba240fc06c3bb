"""The demo campaign: as many people as asked for, always the same ones, and some rows that cannot be sent."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from mailer.campaigns.people import TONGUES, Tongue
from mailer.campaigns.starter import copy_templates, private_folder, starter_text

HEADERS = (
    "Email",
    "First Name",
    "Last Name",
    "City",
    "Language",
    "Plan",
    "Points",
    "Voucher",
    "Valid until",
)
RECIPIENTS = 1200
_VALID_UNTIL = "2026-12-31"

Row = tuple[str, ...]


def write_demo(folder: Path, count: int = RECIPIENTS) -> Path:
    """Campaign, recipients, vouchers and templates, in ``folder``; what was there is replaced.

    ``count`` rows can be sent; a few more cannot, on purpose. Returns the campaign file.
    """
    private_folder(folder)
    private_folder(folder / "vouchers")
    with _created(folder / "recipients.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADERS)
        writer.writerows(with_mistakes(people(count)))
    for row in people(count):
        (folder / "vouchers" / f"{row[7]}.pdf").write_bytes(voucher_pdf(row[7], f"valid until {row[8]}"))
    copy_templates(folder / "templates")
    campaign = folder / "campaign.toml"
    campaign.write_text(starter_text("demo.toml"), encoding="utf-8")
    return campaign


def people(count: int) -> Iterator[Row]:
    """The same people each time; every address once."""
    chance = random.Random(20251130)
    for number in range(1, count + 1):
        yield _person(number, chance)


def _person(number: int, chance: random.Random) -> Row:
    # The first three tongues have a template of their own; half of the list speaks them.
    tongue: Tongue = chance.choice(TONGUES[:3] if number % 2 else TONGUES)
    index = chance.randrange(len(tongue.given))
    given, family = tongue.given[index], chance.choice(tongue.family)
    return (
        f"{tongue.local[index]}.{number}@{chance.choice(tongue.domains)}",
        "" if number % 97 == 0 else given,
        family,
        "" if number % 11 == 0 else chance.choice(tongue.cities),
        tongue.language,
        chance.choice(("free", "free", "pro")),
        str(chance.randrange(0, 20_000, 50)),
        f"NOV-{chance.randrange(16**4):04X}-{number:04d}",
        _VALID_UNTIL,
    )


def with_mistakes(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, with what people's lists are full of put between them."""
    for number, row in enumerate(rows, 1):
        yield row
        wrong = _MISTAKES.get(number)
        if wrong is not None:
            yield wrong(row)


#: After which row, and what is made of a copy of it.
_MISTAKES: dict[int, Callable[[Row], Row]] = {
    7: lambda row: (row[0].replace("@", "(at)"), *row[1:]),
    19: lambda row: row,  # twice
    31: lambda row: ("", *row[1:]),
    64: lambda row: (f"{row[0]}, second.{row[0]}", *row[1:]),
    128: lambda row: row[:4],
    256: lambda row: (f"b.{row[0]}", *row[1:6], "many", *row[7:]),
    512: lambda row: (f"c.{row[0]}", *row[1:8], "31/12/2026"),
    700: lambda row: (row[0].replace("@", "@-"), *row[1:]),
    901: lambda row: (row[0].upper(), *row[1:]),  # twice, in capitals
}


def voucher_pdf(code: str, terms: str) -> bytes:
    """A small PDF of one page. ``code`` and ``terms`` are ASCII without brackets."""
    content = (
        "0.04 0.37 1 rg 0 0 420 200 re f 1 1 1 rg 16 16 388 168 re f 0.06 0.16 0.26 rg "
        f"BT /F1 15 Tf 36 140 Td (Acme voucher) Tj 0 -50 Td /F1 30 Tf ({code}) Tj "
        f"0 -44 Td /F1 13 Tf ({terms}) Tj ET"
    )
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 200] /Contents 4 0 R "
            "/Resources << /Font << /F1 5 0 R >> >> >>"
        ),
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
    )
    text, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return (
        f"{text}xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(text)}\n%%EOF\n"
    ).encode("ascii")


def _created(path: Path) -> Path:
    """An empty file that only its owner can read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path
