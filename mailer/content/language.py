"""How a mail writes numbers and dates: its locale and its time zone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mailer.content.contract import MailSpec
from mailer.content.filters import filters
from mailer.content.manifest import Manifest
from mailer.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Language:
    """Both are known to exist."""

    locale: str
    zone: tzinfo

    @classmethod
    def of(cls, spec: MailSpec, about: Manifest) -> Language:
        """What the campaign says, or else the folder. Raises TemplateError for unknown names."""
        defaults = MailSpec(sender="")
        locale = about.locale if about.locale and spec.locale == defaults.locale else spec.locale
        zone = about.timezone if about.timezone and spec.timezone == defaults.timezone else spec.timezone
        return cls(_locale(locale), _zone(zone))

    def filters(self, tag: str = "") -> dict[str, Callable[..., Any]]:
        """Of the language variant ``tag``, when that names a locale."""
        try:
            return filters(_locale(tag) if tag else self.locale, self.zone)
        except TemplateError:
            return filters(self.locale, self.zone)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TemplateError(f"unknown time zone {name!r}", hint="For example Europe/Berlin.") from None


def _locale(name: str) -> str:
    from babel import Locale, UnknownLocaleError

    try:
        return str(Locale.parse(name.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        raise TemplateError(f"unknown locale {name!r}", hint="For example en, de or pt_BR.") from None
