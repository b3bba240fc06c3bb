"""E-mail addresses, valid by construction."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches

#: Mailbox providers that answer for several domains. A lane is what one provider sees as one sender's
#: traffic, so limits and backing off work on it. Everything else is its own domain.
LANES = {
    "gmail": ("gmail.com", "googlemail.com"),
    "microsoft": ("outlook.com", "hotmail.com", "live.com", "msn.com"),
    "yahoo": ("yahoo.com", "ymail.com", "rocketmail.com", "aol.com"),
    "apple": ("icloud.com", "me.com", "mac.com"),
}
_LANE_OF = {domain: lane for lane, domains in LANES.items() for domain in domains}

#: Nothing longer is looked at: 254 octets of address (RFC 5321), the rest for a name and quoting.
MAX_TEXT = 320

#: What may never stand in a header or an address: C0, DEL, C1, line and paragraph separators, lone
#: surrogates, and the bidirectional overrides that make one address look like another.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# The everyday address. A strict part of what email-validator accepts (a property test holds this), and
# thirty times faster. No nested repetition over the same characters, so it is linear.
_PLAIN = re.compile(
    r"(?=[^@]{1,64}@)([A-Za-z0-9_+'-]+(?:\.[A-Za-z0-9_+'-]+)*)"
    r"@((?:[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}\.)+([A-Za-z]{2,30}))"
)
# RFC 6761 names that email-validator refuses; ".test" is for tests and stays.
_RESERVED = frozenset({"arpa", "invalid", "local", "localhost", "onion"})
_MAX_ADDRESS = 254
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_AROUND = " \t\xa0"


class AddressError(ValueError):
    """``AddressError(reason)``: one plain sentence that does not repeat the address."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox, made by ``parse``.

    The local part keeps its case, because only its own server may say that case does not matter
    (RFC 5321 section 2.4). The domain is lower case and in A-label form.
    """

    local: str
    domain: str
    name: str = ""

    def __reduce__(self) -> tuple[type[Address], tuple[str, str, str]]:
        # Three times as fast as what a dataclass with slots does by itself; every row travels once.
        return Address, (self.local, self.domain, self.name)

    @property
    def addr(self) -> str:
        """The form for the envelope; non-ASCII only when ``smtputf8``."""
        return f"{self.local}@{self.domain}"

    @property
    def smtputf8(self) -> bool:
        """The local part needs RFC 6531."""
        return not self.local.isascii()

    @property
    def lane(self) -> str:
        """The provider group of the domain, or the domain itself."""
        return _LANE_OF.get(self.domain, self.domain)

    @property
    def key(self) -> str:
        """Equal for addresses that reach the same person in practice: for de-duplication and suppression."""
        return self.addr.casefold()

    @classmethod
    def parse(cls, text: str) -> Address:
        """``a@b`` or ``Name <a@b>``. Raises AddressError.

        Syntax only (email-validator, strict), without quoted local parts, address literals and the
        old routing characters ``%`` and ``!``.
        """
        if len(text) <= _MAX_ADDRESS and (plain := _PLAIN.fullmatch(text)):
            local, domain, top = plain.groups()
            if top.lower() not in _RESERVED:
                return cls(local, domain.lower())
        return _parse_slowly(text)


def check_lane(name: str) -> None:
    """Raises ValueError, with the name that was probably meant, for one that no recipient's lane ever has."""
    lane = name.lower()
    if lane in LANES:
        return
    if own := _LANE_OF.get(lane):
        raise ValueError(f"{name!r} belongs to the group {own!r}: write {own!r}, or limit it by `domains`")
    if "." not in lane:
        close = get_close_matches(lane, LANES, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(LANES)}, or a domain"
        raise ValueError(f"no provider group {name!r}; {meant}")
    check_domain(name)


def check_domain(name: str) -> None:
    """Raises ValueError for what is not the domain of an address, in the form in which addresses are kept."""
    try:
        kept = Address.parse(f"postmaster@{name}").domain
    except AddressError:
        raise ValueError(f"{name!r} is not a domain; write it like 'example.org'") from None
    if kept != name.lower():
        raise ValueError(f"write {name!r} as {kept!r}")


def _parse_slowly(text: str) -> Address:
    if len(text) > MAX_TEXT:
        raise AddressError(f"It is longer than {MAX_TEXT} characters.")
    text = text.strip(_AROUND)
    if not text:
        raise AddressError("It is empty.")
    if UNSAFE.search(text):
        raise AddressError("It holds a control or text-direction character.")
    if not text.endswith(">"):
        return _validated(text, "")
    left, bracket, inside = text[:-1].rpartition("<")
    if not bracket:
        raise AddressError("There is a '>' without a '<'.")
    return _validated(inside.strip(_AROUND), _display_name(left.strip(_AROUND)))


def _display_name(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        return _ESCAPED.sub(r"\1", quoted[1])
    if "<" in text or ">" in text or ("@" in text and ("," in text or ";" in text)):
        raise AddressError("It holds more than one address.")
    return text


def _validated(addr: str, name: str) -> Address:
    if addr.count("@") > 1 and re.search(r"[,; <>]", addr):
        raise AddressError("It holds more than one address.")
    local, at, _ = addr.partition("@")
    if at and ("%" in local or "!" in local):
        raise AddressError("Routing characters (% and !) before the @-sign are not allowed.")
    if at and "=?" in local:
        raise AddressError("An encoded word (=?) before the @-sign is not allowed.")
    domain = _domain_after_validation(addr)
    result = Address(unicodedata.normalize("NFC", local), domain, name)
    if len(result.addr.encode()) > _MAX_ADDRESS:
        raise AddressError(f"It is longer than {_MAX_ADDRESS} octets.")
    return result


def _domain_after_validation(addr: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        # test_environment lets ".test" through and nothing else.
        valid = validate_email(
            addr,
            strict=True,
            check_deliverability=False,
            test_environment=True,
            allow_smtputf8=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            allow_empty_local=False,
            globally_deliverable=True,
        )
    except EmailNotValidError as error:
        raise AddressError(str(error)) from None
    domain: str = valid.ascii_domain
    return domain.lower()
