"""How long a campaign takes under its limits, for ``check`` and ``send``; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mailer.delivery.limits.plan import Limits
from mailer.delivery.limits.rates import Rate
from mailer.delivery.limits.windows import LONGEST_PACE


def duration(
    rows_by_lane: Mapping[str, int],
    limits: Limits,
    *,
    backend: str,
    campaign_id: int | None = None,
    sender: str = "",
) -> float | None:
    """Seconds until the last message may go if the limits alone decide; None when there are none.

    What else runs on the same limits, and what the windows still remember, is not counted. A lane that is no
    provider group is a recipient domain, and counts as one.
    """
    rows: Counter[str] = Counter()
    for lane, count in rows_by_lane.items():
        for key in limits.keys_for(
            backend, lane, domain=lane, campaign_id=campaign_id, sender=sender, messages=0
        ):
            rows[key] += count
    spans = [span(rate, count) for key, count in rows.items() for rate in limits.terms(key).for_bulk.rates]
    return max(spans, default=None)


def span(rate: Rate, count: int) -> float:
    """Seconds from the first to the last of ``count`` messages."""
    if count <= 0:
        return 0.0
    if rate.seconds <= LONGEST_PACE:
        return (count - 1) / rate.per_second
    return float((count - 1) // rate.count * rate.seconds)
