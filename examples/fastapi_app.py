"""A shop that mails a receipt for each order: ``uvicorn examples.fastapi_app:app``.

It runs in a folder with ``mailer.toml`` and ``templates/receipt/`` (``mailer init`` writes both). With a
broker in the settings `mailer worker` delivers; without, this process does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from mailer import Mailer
from mailer.errors import InputError, UnknownMessage

SHOP = "https://acme.example"

mailer = Mailer(client="shop")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """What was handed over before a restart goes out first; what is due goes out before the end."""
    with mailer:
        yield


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    title: str
    quantity: int
    price: str


class Order(BaseModel):
    number: int
    email: str
    name: str
    items: list[Item]
    total: str
    paid_with: str


# Routes without `async` run on a thread, so that waiting for the ledger's disk holds up nobody.


@app.post("/orders", status_code=201)
def place(order: Order) -> dict[str, str]:
    """Placed twice, by a browser that tries again, it is one receipt."""
    more = {"order_number": order.number, "currency": "EUR", "order_url": f"{SHOP}/orders/{order.number}"}
    try:
        receipt = mailer.send(
            "receipt",
            to=order.email,
            data=order.model_dump(exclude={"number", "email"}) | more,
            idempotency_key=f"order-{order.number}",
            tags=["order"],
        )
    except InputError as error:
        raise HTTPException(422, error.message) from None
    return {"receipt": receipt.id}


@app.get("/receipts/{id}")
def look(id: str) -> dict[str, Any]:  # noqa: A002 - its name in the path
    try:
        return asdict(mailer.status(id))
    except UnknownMessage:
        raise HTTPException(404) from None
