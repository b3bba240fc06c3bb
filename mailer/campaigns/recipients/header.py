"""The header: which columns there are, what they are called, which one holds the address."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailer.content.columns import identifier
from mailer.errors import RecipientsError

#: Usual headers of the address column, best first; compared without case, spaces and punctuation.
#: The last ones also name postal addresses.
ADDRESS_HEADERS = (
    "email",
    "emailaddress",
    "emailadress",
    "emailadresse",
    "mail",
    "mailaddress",
    "mailadresse",
    "primaryemail",
    "useremail",
    "contactemail",
    "customeremail",
    "recipient",
    "recipientemail",
    "correo",
    "correoelectrónico",
    "direccióndecorreo",
    "courriel",
    "adressemail",
    "adresseemail",
    "adresseélectronique",
    "indirizzoemail",
    "indirizzomail",
    "posta",
    "endereçodeemail",
    "eメール",
    "メール",
    "メールアドレス",
    "邮箱",
    "电子邮件",
    "電子郵件",
    "이메일",
    "почта",
    "электроннаяпочта",
    "eposta",
    "epost",
    "epostadress",
    "sähköposti",
    "emailcím",
    "to",
    "address",
    "adresse",
)
_RANK = {name: rank for rank, name in enumerate(ADDRESS_HEADERS)}
_ADDRESS = re.compile(r"<?[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+>?")
_ROLES = frozenset({"email", "name", "language"})

#: The first columns of ``<campaign>.invalid.csv``; a file that starts so is read without them.
REPORT_HEADERS = ("line", "column", "reason")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file: ``headers`` as written, ``identifiers`` as templates call them."""

    headers: tuple[str, ...]
    identifiers: tuple[str, ...]
    email: int
    name: int | None = None
    language: int | None = None

    def index(self, name: str) -> int:
        """By header, by identifier, or ``email`` for the address column. Raises RecipientsError."""
        for names in (self.headers, self.identifiers):
            if name in names:
                return names.index(name)
        if name == "email":
            return self.email
        raise RecipientsError(f"there is no column {name!r}", hint=f"Columns: {listed(self.headers)}.")


def understand(
    headers: Sequence[str], mapping: Mapping[str, str], file: str | None = None, line: int | None = None
) -> Columns:
    """Raises RecipientsError when the header is not one, or when no column is the address."""
    refuse_bad_headers(headers, file, line)
    identifiers = tuple(identifier(header) for header in headers)
    _refuse_clash(headers, identifiers, file, line)
    _refuse_unknown_roles(mapping, file)
    bare = Columns(tuple(headers), identifiers, -1)
    roles = {role: _mapped(bare, role, wanted, file) for role, wanted in mapping.items()}
    if "email" not in roles:
        roles["email"] = find_address_column(headers, file, line)
    return Columns(bare.headers, identifiers, **roles)


def looks_like_address_column(header: str) -> bool:
    return _plain(header) in _RANK


def find_address_column(headers: Sequence[str], file: str | None, line: int | None) -> int:
    """The column with the most usual name. Two with the same name but for punctuation: a question."""
    ranked = sorted(
        (_RANK[plain], index) for index, header in enumerate(headers) if (plain := _plain(header)) in _RANK
    )
    if not ranked:
        raise RecipientsError(
            "no column looks like the e-mail address",
            file,
            line,
            hint=f"Columns: {listed(headers)}. If one of them holds addresses, name it in the campaign file:"
            '\n  [columns]\n  email = "its name"\nor by an option: --column "email=its name"',
        )
    (best, index), *others = ranked
    if others and others[0][0] == best:
        rival = headers[others[0][1]]
        raise RecipientsError(
            f"both {headers[index]!r} and {rival!r} could be the e-mail address",
            file,
            line,
            hint=f'Say which it is:\n  [columns]\n  email = "{headers[index]}"',
        )
    return index


def listed(headers: Iterable[str], most: int = 30) -> str:
    names = list(headers)
    tail = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name[:60]) for name in names[:most]) + tail


def address_in(headers: Sequence[str]) -> int | None:
    """The column of the first address where names should be: the file has no header."""
    return next((index for index, header in enumerate(headers) if _ADDRESS.fullmatch(header)), None)


def refuse_bad_headers(headers: Sequence[str], file: str | None, line: int | None) -> None:
    if address_in(headers) is not None:
        raise RecipientsError(
            "the first row holds an address, so the file has no header",
            file,
            line,
            hint='Put a line with column names above it, such as "email,name".',
        )
    first: dict[str, int] = {}
    for number, header in enumerate(headers, 1):
        if not header:
            raise RecipientsError(f"column {number} has no name", file, line, hint="Name it, or remove it.")
        if header in first:
            raise RecipientsError(
                f"columns {first[header]} and {number} are both called {header!r}",
                file,
                line,
                hint="Give each column its own name.",
            )
        first[header] = number


def _refuse_clash(
    headers: Sequence[str], identifiers: Sequence[str], file: str | None, line: int | None
) -> None:
    first: dict[str, str] = {}
    for header, name in zip(headers, identifiers, strict=True):
        if name in first:
            raise RecipientsError(
                f"{first[name]!r} and {header!r} would both be {{{{ {name} }}}} in a template",
                file,
                line,
                hint="Rename one of the two columns.",
            )
        first[name] = header


def _refuse_unknown_roles(mapping: Mapping[str, str], file: str | None) -> None:
    unknown = sorted(set(mapping) - _ROLES)
    if unknown:
        raise RecipientsError(
            f"[columns] knows {', '.join(sorted(_ROLES))}, not {unknown[0]!r}",
            file,
            hint="Every other column is reached by its own name.",
        )


def _mapped(columns: Columns, role: str, wanted: str, file: str | None) -> int:
    try:
        return (
            columns.headers.index(wanted) if wanted in columns.headers else columns.identifiers.index(wanted)
        )
    except ValueError:
        raise RecipientsError(
            f"[columns] {role} = {wanted!r}, but there is no such column",
            file,
            hint=f"Columns: {listed(columns.headers)}.",
        ) from None


def _plain(header: str) -> str:
    folded = unicodedata.normalize("NFKC", header).casefold()
    return "".join(char for char in folded if char.isalnum() or unicodedata.combining(char))
