"""A Django project in one file, with two ways to send: ``python examples/django_project.py runserver``.

It runs in a folder with ``mailer.toml`` and ``templates/receipt/`` (``mailer init`` writes both). What the
project sent before, through `django.core.mail`, goes through the mailer by one setting; a receipt belongs to
its order, and is handed over when the order is committed.
"""

from __future__ import annotations

import json
import os
import sys

import django
from django.conf import settings
from django.core.mail import send_mail
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from mailer.django import shared_mailer

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}},
    DEFAULT_FROM_EMAIL="Acme Shop <shop@acme.example>",
    EMAIL_BACKEND="mailer.django.EmailBackend",
)
django.setup()


@require_POST
def contact(request: HttpRequest) -> JsonResponse:
    """As Django does it; the answer comes when the message is in the ledger."""
    question = json.loads(request.body)["question"]
    sent = send_mail("A question", question, None, ["help@acme.example"])
    return JsonResponse({"sent": sent})


@require_POST
def place(request: HttpRequest) -> JsonResponse:
    """No receipt for an order that was rolled back; one receipt for an order that was sent twice."""
    order = json.loads(request.body)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS shop_order (number INTEGER PRIMARY KEY)")
            cursor.execute("INSERT OR IGNORE INTO shop_order VALUES (%s)", [order["number"]])
        transaction.on_commit(
            lambda: shared_mailer().send(
                "receipt",
                to=order["email"],
                data=order["receipt"],
                idempotency_key=f"order-{order['number']}",
            )
        )
    return JsonResponse({"order": order["number"]}, status=201)


urlpatterns = [path("contact", contact), path("orders", place)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
