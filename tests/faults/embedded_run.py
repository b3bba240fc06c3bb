"""``python -m tests.faults.embedded_run LEDGER CAMPAIGN BACKEND_URL [CONNECTIONS [PROCESSES]]``.

Does what ``mailer send`` does. A process of its own, because it is there to be killed; it prints why it
ended.
"""

from __future__ import annotations

import sys

from mailer.backends.urls import parse
from mailer.delivery.loop import run
from mailer.delivery.runner import run_embedded


def main(ledger: str, campaign: str, url: str, connections: str = "2", processes: str = "1") -> None:
    backend = parse("main", url, connections=int(connections))
    result = run(run_embedded(ledger, int(campaign), backends={"main": backend}, processes=int(processes)))
    print(result.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
