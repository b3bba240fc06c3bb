"""What PostgreSQL and its driver say went wrong, as errors of ours that say what to do."""

from __future__ import annotations

import psycopg

from mailer.errors import LedgerBusy, LedgerError, LedgerInterrupted

#: By SQLSTATE or its class. Only the first line of what the server said: its details quote values.
_ADVICE = {
    "28": "{place} refuses the login: look at user and password in the ledger's URL ({error})",
    "3D": "{place} does not exist: create it (`createdb`), or name another in the ledger's URL",
    "42501": "{place} refuses this user ({error}): make it the owner, or GRANT CREATE ON DATABASE to it",
    "25006": "{place} can only be read ({error}): name the primary server in the ledger's URL",
    "53100": "the disk of {place} is full: free some space and go on; what was not confirmed was not written",
}
_BUSY = {
    "55P03": "another process has been writing to {place} for too long ({error}): end it, or try again",
    "53300": "{place} has no connection left ({error}): raise max_connections, or run fewer processes",
}
_INTERRUPTED = {
    "40P01": "two writers of {place} waited for each other: try again",
    "40001": "two writers of {place} were in each other's way: try again",
    "57P": "{place} is starting or going down ({error}): try again",
    "08": "the connection to {place} broke ({error}): try again",
}
#: Who is not let in gets no SQLSTATE from the driver, only the server's words, without any value.
_REFUSED = {
    "password": _ADVICE["28"],
    "pg_hba.conf": _ADVICE["28"],
    "role ": _ADVICE["28"],
    "does not exist": _ADVICE["3D"],
    "too many": _BUSY["53300"],
    "remaining connection slots": _BUSY["53300"],
}
_AWAY = "{place} cannot be reached ({error}): is the server running?"


def translate(exc: BaseException | None, place: str) -> LedgerError:
    """Ours for the driver's; ``place`` is the database as it may be shown."""
    state = getattr(exc, "sqlstate", None) or ""
    said = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
    for kind, table in ((LedgerBusy, _BUSY), (LedgerInterrupted, _INTERRUPTED), (LedgerError, _ADVICE)):
        for begin, advice in table.items():
            if state.startswith(begin):
                return kind(advice.format(place=place, error=said))
    if isinstance(exc, psycopg.OperationalError) and not state:
        error = str(exc).partition("\n")[0]
        refused = next((advice for part, advice in _REFUSED.items() if part in error), None)
        kind = LedgerInterrupted if refused is None else LedgerError
        return kind((refused or _AWAY).format(place=place, error=error))
    return LedgerError(f"{place} cannot be used: {said or type(exc).__name__} {state}".rstrip())
