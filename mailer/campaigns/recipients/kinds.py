"""What kind of file this is, by its first bytes first and by its name second."""

from __future__ import annotations

import zipfile
from pathlib import Path

from mailer.errors import RecipientsError

#: Suffix or ``format`` -> table.
FORMATS = {
    "csv": "delimited",
    "tsv": "delimited",
    "tab": "delimited",
    "txt": "delimited",
    "jsonl": "jsonlines",
    "ndjson": "jsonlines",
    "xlsx": "workbook",
}
#: Formats whose delimiter is in their name.
TABBED = frozenset({"tsv", "tab"})

_ZIP = b"PK\x03\x04"
#: First bytes -> what it is, in the user's words. A text file begins with none of them.
_FOREIGN = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Excel workbook (.xls)"),
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF document"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
_SAVE_AS = "Save it as CSV (UTF-8) or .xlsx."


def kind_of(path: Path, declared: str | None) -> str:
    """``delimited``, ``jsonlines`` or ``workbook``. Raises RecipientsError for anything else."""
    head = _head(path)
    if head.startswith(_ZIP):
        return _zipped(path)
    _refuse_foreign(head, path)
    name = name_of(path, declared)
    if declared and name not in FORMATS:
        expected = ", ".join(FORMATS)
        raise RecipientsError(f"unknown format {declared!r}, expected one of: {expected}", str(path))
    kind = FORMATS.get(name) or _by_content(head)
    if kind == "jsonlines" and _first(head) == b"[":
        raise RecipientsError(
            "this is one JSON array; one object per line is wanted (JSON Lines)",
            str(path),
            hint=f"Convert it: jq -c '.[]' {path.name} > {path.stem}.jsonl",
        )
    if kind == "workbook":
        raise RecipientsError("this is not an Excel workbook", str(path), hint=_SAVE_AS)
    return kind


def name_of(path: Path, declared: str | None) -> str:
    """The format's own name: as declared, else the suffix."""
    return (declared or path.suffix.removeprefix(".")).lower()


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise RecipientsError("this file does not exist", str(path)) from None
    except OSError as error:
        raise RecipientsError(f"cannot be read: {error.strerror}", str(path)) from error
    if not head:
        raise RecipientsError("the file is empty", str(path))
    return head


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise RecipientsError("this is a damaged ZIP file or workbook", str(path), hint=_SAVE_AS) from None
    if "xl/workbook.xml" in names:
        return "workbook"
    if "content.xml" in names and "mimetype" in names:
        raise RecipientsError("this is an OpenDocument file", str(path), hint=_SAVE_AS)
    raise RecipientsError("this is a ZIP archive", str(path), hint="Unpack it and give the CSV inside.")


def _refuse_foreign(head: bytes, path: Path) -> None:
    for mark, what in _FOREIGN:
        if head.startswith(mark):
            raise RecipientsError(f"this is {what}, not a list of recipients", str(path), hint=_SAVE_AS)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_MARKUP):
        raise RecipientsError(
            "this is an HTML or XML page, not a list of recipients",
            str(path),
            hint="A download that asked for a login often leaves one.",
        )


def _by_content(head: bytes) -> str:
    """For standard input and unusual suffixes."""
    return "jsonlines" if _first(head) in {b"{", b"["} else "delimited"


def _first(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
