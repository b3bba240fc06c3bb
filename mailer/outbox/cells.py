"""A message as the JSON text that the ledger keeps.

orjson takes a tenth of the standard library's time, which is asked where the two differ: what orjson refuses,
and where it writes ``null``, because that may have been a number that JSON does not have.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from mailer.errors import ContentError, FieldError

#: Characters of the stored message; about the largest that servers take.
LARGEST = 40_000_000

_TEXT = frozenset((str,))
_SAME = frozenset((str, int, bool))
_MOST = 2**63

_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def stored(letter: Mapping[str, Any]) -> str:
    """Raises ContentError: too long; FieldError: no text that can be encoded."""
    try:
        made = orjson.dumps(letter)
    except TypeError:
        made = b"null"
    cells = _stored_slowly(letter) if b"null" in made else made.decode()
    if len(cells) > LARGEST:
        raise ContentError(f"the message is larger than {LARGEST:,} characters")
    return cells


def _stored_slowly(letter: Mapping[str, Any]) -> str:
    members = [f"{_as_json(name)}: {_encodable(name, value)}" for name, value in letter.items()]
    return "{" + ", ".join(members) + "}"


def _encodable(name: str, value: Any) -> str:
    made = _as_json(value)
    try:
        (name + made).encode()
    except UnicodeEncodeError:
        complaint = "The text holds half of a character pair (a lone surrogate)."
        raise FieldError(complaint, column=name) from None
    return made


def data(given: Mapping[str, Any]) -> dict[str, Any]:
    """As the ledger gives it back: what is rendered now is what is rendered then. Raises FieldError."""
    if type(given) is not dict and not isinstance(given, Mapping):
        raise FieldError("must be a mapping of names to values", column="data")
    plain = given if isinstance(given, dict) else dict(given)
    if set(map(type, plain)) <= _TEXT and _comes_back(plain.values()):
        return dict(plain)
    try:
        made = orjson.dumps(plain, _plain, _OPTIONS)
    except TypeError:
        return _data_slowly(plain)
    found: dict[str, Any] = _data_slowly(plain) if b"null" in made else orjson.loads(made)
    return found


def _comes_back(values: Collection[Any]) -> bool:
    """From JSON as they are. A number of thousands of digits does not."""
    kinds = set(map(type, values))
    if not kinds <= _SAME:
        return False
    return int not in kinds or all(-_MOST < value < _MOST for value in values if type(value) is int)


def _data_slowly(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(_as_strict_json(given))
    except (TypeError, ValueError) as error:
        raise FieldError(f"cannot be stored: {error}", column="data") from None
    except RecursionError:
        raise FieldError("cannot be stored: it is nested too deep", column="data") from None
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"it holds {type(value).__name__}, which is no text, number, date, list or mapping")


# Made once: ``json.dumps`` with options makes an encoder for each call.
_as_json = json.JSONEncoder(ensure_ascii=False).encode
_as_strict_json = json.JSONEncoder(default=_plain, allow_nan=False).encode
