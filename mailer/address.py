"""E-mail addresses, valid by construction."""

from __future__ import annotations

from dataclasses import dataclass

#: Mailbox providers that answer for several domains. A lane is what one provider sees as one sender's
#: traffic, so limits and backing off work on it. Everything else is its own domain.
LANES = {
    "gmail": ("gmail.com", "googlemail.com"),
    "microsoft": ("outlook.com", "hotmail.com", "live.com", "msn.com"),
    "yahoo": ("yahoo.com", "ymail.com", "rocketmail.com", "aol.com"),
    "apple": ("icloud.com", "me.com", "mac.com"),
}
