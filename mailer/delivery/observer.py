"""Where metrics listen to the engine."""

from __future__ import annotations

from typing import Protocol

from mailer.message import State


class Observer(Protocol):
    """Told what the engine does, on its event loop, for every row: must return at once and never raise.

    Nothing it hears holds an address, so all of it may become a label or a number.
    """

    def hint(self, claimed: int) -> None:
        """A hint was worked off; ``claimed`` 0: it was late, doubled, or nothing of it was due."""
        ...

    def settled(self, state: State, backend: str) -> None:
        """One row is out of our hands. PENDING and DEFERRED: it comes again."""
        ...

    def waited(self, backend: str, seconds: float) -> None:
        """One row was held back by a limit, and comes again after so many seconds."""
        ...

    def rested(self, backend: str, seconds: float) -> None:
        """This backend is left alone for so long, beginning now."""
        ...


class Silent:
    """The Observer of those who want no metrics."""

    def hint(self, claimed: int) -> None:
        pass

    def settled(self, state: State, backend: str) -> None:
        pass

    def waited(self, backend: str, seconds: float) -> None:
        pass

    def rested(self, backend: str, seconds: float) -> None:
        pass
