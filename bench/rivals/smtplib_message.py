"""Stdlib smtplib and EmailMessage, a connection in each of 10 threads.

python smtplib_message.py PORT COUNT FOLDER
"""

from __future__ import annotations

import json
import smtplib
import sys
import threading
import time
from email.message import EmailMessage
from pathlib import Path

from jinja2 import Environment

from bench.payload import SENDER, rows

CONNECTIONS = 10


def main(port: int, count: int, folder: Path) -> None:
    mail = folder / "templates" / "newsletter"
    jinja = Environment(autoescape=False)
    text, html, subject = (
        jinja.from_string((mail / name).read_text()) for name in ("body.txt", "body.html", "subject.txt")
    )
    pending = iter(rows(count))
    lock = threading.Lock()
    sent = [0] * CONNECTIONS

    def connection(number: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            while True:
                with lock:
                    row = next(pending, None)
                if row is None:
                    return
                message = EmailMessage()
                message["From"] = SENDER
                message["To"] = row["email"]
                message["Subject"] = subject.render(row)
                message.set_content(text.render(row))
                message.add_alternative(html.render(row), subtype="html")
                client.send_message(message)
                sent[number] += 1

    threads = [threading.Thread(target=connection, args=(n,)) for n in range(CONNECTIONS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"sent": sum(sent), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
