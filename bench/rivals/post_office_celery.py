"""What Django projects do: django-post-office writes a row, and a Celery task sends what is queued."""

import os
from urllib.parse import urlsplit

import django
from celery import Celery
from django.conf import settings

database = urlsplit(os.environ["RIVAL_DATABASE"])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "post_office"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": database.hostname,
            "PORT": database.port,
            "USER": database.username,
            "NAME": database.path.strip("/"),
            "CONN_MAX_AGE": None,
        }
    },
    EMAIL_BACKEND="post_office.EmailBackend",
    EMAIL_HOST="127.0.0.1",
    EMAIL_PORT=int(os.environ["RIVAL_PORT"]),
    POST_OFFICE={"CELERY_ENABLED": True},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    USE_TZ=True,
)
app = Celery("post_office", broker=os.environ["RIVAL_BROKER"])
django.setup()

from django.core.management import call_command  # noqa: E402 - Django wants its settings first
from post_office import mail, tasks  # noqa: E402, F401 - the worker finds the task by it


def migrate() -> None:
    call_command("migrate", verbosity=0)


def send(to: str, subject: str, text: str) -> None:
    mail.send(to, "a@acme.example", subject=subject, message=text)
