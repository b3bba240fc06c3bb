"""What a check and a run look like on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailer.campaigns.report import Report
from mailer.cli.output import count, say, span
from mailer.ledger.contract import Why

#: Reasons, lanes and warnings that are shown before "and N more".
SHOWN = 8


def show_report(report: Report) -> None:
    """The outcome of a check, the important things first."""
    say(f"Recipients   {report.described}")
    say(f"  to send    {report.valid:,}{_lanes(report)}")
    _show_left_out(report)
    _show_reasons(report)
    if report.rendered:
        octets, line = report.largest
        say(f"Messages     {_size(report.median_size)} in the middle, {_size(octets)} at most (line {line})")
    for name, rows in report.empty.most_common(SHOWN):
        say(f"  {{{{ {name} }}}} is empty in {count(rows, 'row')}")
    for finding in report.findings[:SHOWN]:
        place = f"{finding.template}, line {finding.line}: " if finding.line else ""
        say(f"  {finding.severity}: {place}{finding.message}")
    for warning in report.warnings[:SHOWN]:
        say(f"  warning: {warning}")
    if report.clipped:
        them = "it" if report.clipped == 1 else "them"
        say(f"  warning: {count(report.clipped, 'message')} over 102 kB of HTML; Gmail will clip {them}")
    if report.estimate and report.estimate >= 1:
        say(f"Time         at least {span(report.estimate)} under the limits")


def _show_left_out(report: Report) -> None:
    tally = report.tally
    for number, one, many in (
        (tally.filtered, "does not match `where`", "do not match `where`"),
        (tally.excluded, "is on an exclude list", "are on an exclude list"),
        (report.suppressed, "is suppressed and will be skipped", "are suppressed and will be skipped"),
        (report.invalid, *(f"cannot be sent: {report.invalid_file}",) * 2),
    ):
        if number:
            say(f"  left out   {number:,} {one if number == 1 else many}")


def _show_reasons(report: Report) -> None:
    reasons = sorted(report.reasons.items(), key=lambda item: -item[1].count)
    for text, reason in reasons[:SHOWN]:
        say(f"    {reason.count:>7,} x {text} (first: line {reason.first_line})")
    if len(reasons) > SHOWN:
        say(f"    and {count(len(reasons) - SHOWN, 'other reason')}")


def _lanes(report: Report) -> str:
    most = [f"{lane} {number:,}" for lane, number in report.lanes.most_common(4)]
    return f"  ({', '.join(most)}{', …' if len(report.lanes) > 4 else ''})" if most else ""


def _size(octets: int) -> str:
    return f"{octets / 1000:.1f} kB" if octets < 1_000_000 else f"{octets / 1_000_000:.1f} MB"


def report_json(report: Report) -> dict[str, Any]:
    """The same for programs."""
    tally = report.tally
    return {
        "rows": tally.rows,
        "valid": report.valid,
        "invalid": report.invalid,
        "duplicates": report.duplicates,
        "filtered": tally.filtered,
        "excluded": tally.excluded,
        "suppressed": report.suppressed,
        "invalid_file": str(report.invalid_file) if report.invalid_file else None,
        "reasons": {text: reason.count for text, reason in report.reasons.items()},
        "lanes": dict(report.lanes),
        "empty": dict(report.empty),
        "largest": report.largest[0],
        "median_size": report.median_size,
        "clipped": report.clipped,
        "findings": [
            {"severity": str(f.severity), "template": f.template, "line": f.line, "message": f.message}
            for f in report.findings
        ],
        "warnings": list(report.warnings),
        "estimate_seconds": report.estimate,
        "seconds": round(report.seconds, 3),
    }


#: States in the order in which people want to know, and how they are called.
WORDS = {
    "accepted": "accepted by the server",
    "rejected": "refused for good",
    "failed": "could not be sent",
    "unknown": "unknown: sent, but no answer came",
    "suppressed": "suppressed",
    "expired": "expired",
    "cancelled": "cancelled",
    "deferred": "refused for now, will be tried again",
    "sending": "being sent",
    "claimed": "held by a worker",
    "pending": "waiting",
}


def show_status(status: Mapping[str, Any], reason: str | None = None) -> None:
    """One campaign: state and, when it is paused, why; then a line per state that has rows."""
    why = f" ({reason})" if reason else ""
    say(f"{status['id']}  {status['name']}: {status['state']}{why}")
    for state, words in WORDS.items():
        if number := status["counts"][state]:
            say(f"  {number:>9,}  {words}")
    if status["invalid_rows"]:
        say(f"  {status['invalid_rows']:>9,}  invalid rows, never part of the campaign")


#: Reasons that the end of a run names.
REASONS = 3


def show_reasons(reasons: Sequence[Why]) -> None:
    """Why mail did not go, or not yet: how often, in words, and with the server's codes."""
    if reasons:
        say("Why, the most frequent first:" if len(reasons) > 1 else "Why:")
    for one in reasons[:REASONS]:
        codes = " ".join(str(code) for code in (one.code, one.enhanced) if code)
        text = one.reason or WORDS[one.state].capitalize() + "."
        say(f"  {one.rows:>9,}  {text}{f' ({codes})' if codes else ''}")
    if len(reasons) > REASONS:
        say(
            f"             and {count(len(reasons) - REASONS, 'other reason')}: `mailer results` has them all"
        )


#: A row in one of these states is not settled yet.
OPEN = ("pending", "claimed", "sending", "deferred")
#: A row that ends so got no mail, and somebody should know.
_DID_NOT_GO = ("rejected", "failed", "unknown", "expired", "cancelled")


def all_went(status: Mapping[str, Any]) -> bool:
    """Nobody on the list was left without mail, but for those who are suppressed."""
    return not status["invalid_rows"] and not any(status["counts"][state] for state in _DID_NOT_GO)
