"""What most applications do: a Celery task that opens a connection and sends."""

import os
import smtplib
from email.message import EmailMessage

from celery import Celery

app = Celery("rival", broker=os.environ["RIVAL_BROKER"])
app.conf.task_ignore_result = True


@app.task(name="send")  # type: ignore[untyped-decorator]  # Celery has no types
def send(to: str, subject: str, text: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@acme.example", to, subject
    message.set_content(text)
    with smtplib.SMTP("127.0.0.1", int(os.environ["RIVAL_PORT"])) as server:
        server.send_message(message)
