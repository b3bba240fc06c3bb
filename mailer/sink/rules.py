"""Which rule applies. The same recipients are hit in every run: chance is a hash, not a die."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from fnmatch import translate
from hashlib import blake2b

from mailer.sink.config import PHASES, Rule


class Rulebook:
    """First match wins within a phase. A rule whose ``times`` are used up for a key is passed over."""

    def __init__(self, rules: Iterable[Rule], seed: str = "") -> None:
        self._seed = seed
        self._used: Counter[tuple[int, str]] = Counter()
        self._by_phase: dict[str, list[_Compiled]] = {phase: [] for phase in PHASES}
        for rule in rules:
            self._by_phase[rule.at].append(_Compiled(rule))

    def find(self, phase: str, sender: str, recipient: str | None, key: str) -> Rule | None:
        """The rule for this recipient, or, where there is none, for this ``key``; counts as used."""
        for compiled in self._by_phase[phase]:
            if compiled.matches(sender, recipient) and self._picked(compiled.rule, recipient or key):
                return compiled.rule
        return None

    def find_any(self, phase: str, sender: str, recipients: Iterable[str]) -> Rule | None:
        """The first rule for any of the recipients, in their order."""
        if not self._by_phase[phase]:
            return None
        found = (self.find(phase, sender, recipient, "") for recipient in recipients)
        return next((rule for rule in found if rule is not None), None)

    def _picked(self, rule: Rule, key: str) -> bool:
        key = key.lower()
        if rule.share < 1 and _fraction(f"{self._seed}\0{rule.number}\0{key}") >= rule.share:
            return False
        if rule.times is None:
            return True
        # Without a recipient the key names one connection or transaction: then times counts them all.
        counted = (rule.number, key if rule.at in {"rcpt", "data", "dot"} else "")
        if self._used[counted] >= rule.times:
            return False
        self._used[counted] += 1
        return True


class _Compiled:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._recipient = _pattern(rule.match)
        self._sender = _pattern(rule.sender)

    def matches(self, sender: str, recipient: str | None) -> bool:
        return _fits(self._recipient, recipient or "") and _fits(self._sender, sender)


def _pattern(glob: str) -> re.Pattern[str] | None:
    return None if glob == "*" else re.compile(translate(glob), re.IGNORECASE)


def _fits(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is None or pattern.match(text) is not None


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
