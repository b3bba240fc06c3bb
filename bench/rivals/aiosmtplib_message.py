"""aiosmtplib and EmailMessage over 10 connections: python aiosmtplib_message.py PORT COUNT FOLDER"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
from jinja2 import Environment

from bench.payload import SENDER, rows

CONNECTIONS = 10


async def main(port: int, count: int, folder: Path) -> None:
    mail = folder / "templates" / "newsletter"
    jinja = Environment(autoescape=False)
    text, html, subject = (
        jinja.from_string((mail / name).read_text()) for name in ("body.txt", "body.html", "subject.txt")
    )
    pending = iter(rows(count))
    sent = 0

    async def connection() -> None:
        nonlocal sent
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for row in pending:
                message = EmailMessage()
                message["From"] = SENDER
                message["To"] = row["email"]
                message["Subject"] = subject.render(row)
                message.set_content(text.render(row))
                message.add_alternative(html.render(row), subtype="html")
                await client.send_message(message)
                sent += 1

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    print(json.dumps({"sent": sent, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
