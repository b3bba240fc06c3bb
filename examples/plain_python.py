"""A nightly script that mails receipts: ``python examples/plain_python.py orders.json``.

It runs in a folder with ``mailer.toml`` and ``templates/receipt/`` (``mailer init`` writes both), and says
what became of each. Run again after a crash, or by mistake, it sends nothing twice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mailer import Mailer, Message
from mailer.errors import InputError


def receipt(order: dict[str, Any]) -> Message:
    return Message(
        "receipt",
        to=order["email"],
        data=order["receipt"],
        idempotency_key=f"order-{order['number']}",
        metadata={"order": str(order["number"])},
    )


def main(file: Path) -> int:
    orders = json.loads(file.read_text())
    mailer = Mailer(client="nightly")
    try:
        with mailer:  # without a broker in the settings, this process delivers before it leaves the block
            receipts = mailer.send_many([receipt(order) for order in orders])
    except InputError as error:
        print(f"nothing was sent: {error.message}", file=sys.stderr)
        return 2
    for order, given in zip(orders, receipts, strict=True):
        status = mailer.status(given.id)
        print(f"order {order['number']}: {status.state}{'' if given.created else ', handed over before'}")
    mailer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
