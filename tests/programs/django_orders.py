"""``python django_orders.py HOST PORT DATABASE``: orders that are committed and rolled back, with their mail.

Prints the ids of the messages. It runs in a folder whose ``mailer.toml`` names the same database.
"""

from __future__ import annotations

import json
import sys

import django
from django.conf import settings
from django.db import connection, transaction

from mailer import Mailer

_, host, port, database = sys.argv
about = {"ENGINE": "django.db.backends.postgresql", "USER": "mailer"}
place = {"HOST": host, "PORT": port, "NAME": database}
settings.configure(DATABASES={"default": about | place}, USE_TZ=True)
django.setup()
mailer = Mailer()


class OutOfStock(Exception):
    pass


def order(number: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s)", [number])
    wish = {"sender": "a@acme.example", "subject": f"Order {number}", "text": "Thank you."}
    return mailer.send(to="ada@example.org", **wish, connection=connection).id


ids = []
with transaction.atomic():
    ids.append(order(1))
try:
    with transaction.atomic():
        ids.append(order(2))
        raise OutOfStock
except OutOfStock:
    pass
with transaction.atomic():
    try:
        with transaction.atomic():  # a savepoint
            ids.append(order(3))
            raise OutOfStock
    except OutOfStock:
        ids.append(order(4))
connection.close()
mailer.close()
print(json.dumps(ids))
