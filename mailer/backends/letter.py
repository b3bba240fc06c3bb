"""One message on its way to a provider: in fields, with its labels, and with what webhooks are matched by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mailer.backends.structured import Fields, Mailbox, fields
from mailer.message import Outcome, Outgoing

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]")


class Letter:
    """One message on its way, and what became of it."""

    __slots__ = ("_fields", "message", "outcome")

    def __init__(self, message: Outgoing) -> None:
        self.message = message
        self.outcome: Outcome | None = None
        self._fields: Fields | None = None

    @property
    def fields(self) -> Fields:
        """Taken apart once, when first asked for. Raises ``structured.Unreadable``."""
        if self._fields is None:
            self._fields = fields(self.message)
        return self._fields

    @property
    def everybody(self) -> list[Mailbox]:
        return [*self.fields.to, *self.fields.cc, *self.fields.bcc]

    @property
    def variables(self) -> dict[str, Any]:
        """What a template that lies at the provider is filled with."""
        return dict(self.message.variables)

    @property
    def identity(self) -> str:
        """The Message-ID without its brackets: what webhooks are matched by where there is no other id."""
        return self.message.message_id.strip("<>")

    def tags(self, fixed: Sequence[str], most: int | None = None) -> list[str]:
        """Its own before those of the account: where a provider takes one, it is the message's."""
        if not fixed and not self.message.tags:  # as in most campaigns
            return []
        return list(dict.fromkeys([*self.message.tags, *fixed]))[:most]

    def metadata(self, fixed: Mapping[str, str], prefix: str = "", longest: int = 998) -> dict[str, str]:
        """Those of the account and its own, between what webhooks are matched by: see ``ids``."""
        ids = self.ids(longest)
        if prefix:
            ids = {f"{prefix}{name}": value for name, value in ids.items()}
        if not fixed and not self.message.metadata:
            return ids
        return {**ids, **fixed, **dict(self.message.metadata), f"{prefix}message": ids[f"{prefix}message"]}

    def ids(self, longest: int = 998) -> dict[str, str]:
        """``message`` is the Message-ID without its brackets, ``campaign`` where it belongs to one.

        A Message-ID over ``longest`` characters goes without its domain: what is before it is unique.
        """
        own, campaign = self.identity, self.message.campaign
        own = own if len(own) <= longest else own.partition("@")[0][:longest]
        return {"campaign": campaign[:longest], "message": own} if campaign else {"message": own}

    @property
    def plain_ids(self) -> dict[str, str]:
        """The same in letters, digits, ``_`` and ``-``: the Message-ID before its @ alone."""
        own = self.ids() | {"message": self.identity.partition("@")[0]}
        return {name: plain(text) for name, text in own.items()}

    def labels(self, tags: Sequence[str], metadata: Mapping[str, str]) -> dict[str, str]:
        """Tags, metadata and ids for who knows pairs alone, of few characters: a tag's value says nothing."""
        return self.around(
            dict.fromkeys(self.tags(tags), "yes") | dict(metadata) | dict(self.message.metadata)
        )

    def around(self, pairs: Mapping[str, str]) -> dict[str, str]:
        """Such pairs, with the ids that they cannot hide."""
        ids = self.plain_ids
        return {**ids, **pairs, "message": ids["message"]}


def plain(text: str) -> str:
    """What providers allow in names of labels: 256 letters, digits, ``_`` and ``-``."""
    return _NOT_PLAIN.sub("_", text)[:256]
