"""Which encoding a text file is in: its mark, else UTF-8, else the best guess, else a question."""

from __future__ import annotations

import codecs
import re
from itertools import pairwise
from pathlib import Path

from mailer.errors import RecipientsError

#: How much of the file the guess is made on.
SAMPLE_BYTES = 1_000_000
#: What charset-normalizer gets to see: only lines that are not plain ASCII, and not more than this.
_EVIDENCE_BYTES = 32_000

#: Longest first: the UTF-32 mark begins like the UTF-16 one.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
#: In order of preference where two are equally likely: what Excel writes, by number of its users.
_CANDIDATES = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp932",
    "gb18030",
    "cp949",
    "big5",
    "euc_jp",
    "cp1254",
    "cp1253",
    "cp1257",
    "koi8_r",
    "mac_roman",
)
_SPOKEN = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "cp1252": "Windows-1252",
}
#: Codecs that Python counts among the encodings of text.
_NOT_FOR_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
#: A guess worse than this is not made; 0 is clean text, 1 is noise.
_WORST = 0.25
# A wrong guess leaves symbols inside words ("£ukasz"), two alphabets in one word ("Andrц"), and capitals
# behind small letters ("MŸller").
_BROKEN = re.compile(
    r"[^\W\d_][¡¢£¤¥¦§¨©¬®¯°±²³µ¶¸¹»¼½¾¿ˇ˘˙˛†‡•…‰∂∑∏π∫Ω√∆◊˝]"
    r"|[£¤¥¦¬¯±¹²³¶¸¼½¾][^\W\d_]"
    r"|[A-Za-z][\u0370-\u04ff\uff61-\uff9f]|[\u0370-\u04ff\uff61-\uff9f][A-Za-z]"
)


def detect(path: Path, declared: str | None) -> str:
    """The Python codec to read this file with. Raises RecipientsError.

    Only the first megabyte is looked at; a later byte that does not fit stops the reading at its line.
    """
    with path.open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
        whole = not file.read(1)
    marked = next((codec for mark, codec in _MARKS if sample.startswith(mark)), None)
    if declared is not None:
        return _declared(declared, marked, path)
    if marked is not None:
        return marked
    return _unmarked_utf16(sample) or ("utf-8" if _is_utf8(sample, whole) else guess(sample, path))


def _unmarked_utf16(sample: bytes) -> str | None:
    """UTF-16 that lost its mark: every other octet of mostly Latin text is 0, and none else is."""
    evens, odds = sample[:1000:2], sample[1:1000:2]
    for zeros, letters, codec in ((odds, evens, "utf-16-le"), (evens, odds, "utf-16-be")):
        if zeros.count(0) * 2 > len(zeros) and 0 not in letters:
            return codec
    return None


def guess(sample: bytes, path: Path) -> str:
    """The likeliest 8-bit or East Asian encoding of a sample that is not UTF-8."""
    from charset_normalizer import from_bytes

    evidence = b"\n".join(line for line in re.split(b"[\r\n]+", sample) if not line.isascii())
    evidence = evidence[:_EVIDENCE_BYTES]
    matches = from_bytes(
        evidence,
        cp_isolation=list(_CANDIDATES),
        threshold=_WORST,
        preemptive_behaviour=False,
        enable_fallback=False,
    )
    costs = {
        codec: match.chaos + _broken(str(match))
        for match in matches
        for codec in match.could_be_from_charset
        if codec in _CANDIDATES
    }
    best = min(_CANDIDATES, key=lambda codec: costs.get(codec, 1.0))
    if costs.get(best, 1.0) > _WORST:
        raise RecipientsError(
            "this is not UTF-8, and its encoding cannot be told",
            str(path),
            hint='Say which it is, for example encoding = "cp1252", or save the file as UTF-8.',
        )
    return best


def undecodable(path: Path, codec: str) -> RecipientsError:
    """The error for a file that does not hold what its encoding promised, with the line."""
    offered = "cp1252" if codec.startswith("utf-8") else "utf-8"
    return RecipientsError(
        f"a byte here is not {spoken(codec)}",
        str(path),
        _bad_line(path, codec),
        hint=f'If the file is in another encoding, say so: encoding = "{offered}". Or save it as UTF-8.',
    )


def spoken(codec: str) -> str:
    """The name people know an encoding by."""
    return _SPOKEN.get(codec, codec)


def _declared(declared: str, marked: str | None, path: Path) -> str:
    try:
        "probe".encode(declared)
        known = codecs.lookup(declared).name not in _NOT_FOR_FILES
    except (LookupError, UnicodeError):
        known = False
    if not known:
        raise RecipientsError(
            f"unknown encoding {declared!r}", str(path), hint='Usual ones are "utf-8", "cp1252" and "utf-16".'
        )
    is_utf8 = declared.lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}
    return marked if marked == "utf-8-sig" and is_utf8 else declared


def _is_utf8(sample: bytes, whole: bool) -> bool:
    """Also when a stray byte is in it: reading stops at that byte, where a guess would garble the rest.

    A sample may end inside a character; a whole file may not.
    """
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        if not whole and error.end == len(sample) and error.reason == "unexpected end of data":
            return True
        text = sample.decode("utf-8", "replace")
        return sum(not char.isascii() for char in text) > 2 * text.count("\ufffd")
    return True


def _broken(text: str) -> float:
    """Share of the non-ASCII characters that stand where no word has them."""
    foreign = sum(not char.isascii() for char in text)
    capitals = sum(
        left.islower() and right.isupper() and not right.isascii() for left, right in pairwise(text)
    )
    return (len(_BROKEN.findall(text)) + capitals) / max(foreign, 1)


def _bad_line(path: Path, codec: str) -> int | None:
    """Where the first undecodable byte is. Only UTF-8 can hold U+FFFD itself, and only it escapes cleanly."""
    errors, trace = ("surrogateescape", "[\udc80-\udcff]") if codec.startswith("utf-8") else ("replace", "�")
    bad = re.compile(trace)
    line = 1
    try:
        with path.open(encoding=codec, errors=errors, newline="") as file:
            while text := file.readline(SAMPLE_BYTES):
                if bad.search(text):
                    return line
                line += text.endswith(("\n", "\r"))
    except UnicodeError:
        return line
    return None
