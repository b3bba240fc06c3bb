"""The script that decides in Redis, and the numbers it shares with the Python that it follows."""

from __future__ import annotations

from pathlib import Path

from mailer.delivery.limits import slowing, warmup, windows

#: While Redis settles after it was emptied it is asked for this often.
SETTLE_STEP = 0.2
#: A process of which nothing was heard for so long has nothing to say.
GONE_SECONDS = 10.0
#: What the script must know of the Python that it follows.
NUMBERS = {
    "SLOTS": windows.SLOTS,
    "LONGEST_PACE": windows.LONGEST_PACE,
    "BURST_SECONDS": windows.BURST_SECONDS,
    "MIN_BURST": windows.MIN_BURST,
    "LOT_SECONDS": windows.LOT_SECONDS,
    "SHORTEST_WAIT": windows.SHORTEST_WAIT,
    "URGENT_SECONDS": windows.URGENT_SECONDS,
    "EPSILON": windows.EPSILON,
    "COOLDOWN_SECONDS": slowing.COOLDOWN_SECONDS,
    "RECOVERY": slowing.RECOVERY,
    "LEAST_PER_SECOND": slowing.LEAST_PER_SECOND,
    "UNSEEN_PER_SECOND": slowing.UNSEEN_PER_SECOND,
    "JOIN_SECONDS": slowing.JOIN_SECONDS,
    "DAY_SECONDS": warmup.DAY_SECONDS,
    "SETTLE_STEP": SETTLE_STEP,
    "GONE_SECONDS": GONE_SECONDS,
}


def source() -> str:
    """The script, with the numbers that Python decides by."""
    numbers = "\n".join(f"local {name} = {value!r}" for name, value in NUMBERS.items())
    text = Path(__file__).with_name("limits.lua").read_text(encoding="utf-8")
    return f"{numbers}\n{text}"
