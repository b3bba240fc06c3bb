"""Files that go with a message, from below one root and from nowhere else."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from mailer.content.contract import MailSpec, Package, RowFile
from mailer.errors import ContentError

#: Octets of one file. What base64 makes of it is a third more.
FILE_LIMIT = 20_000_000


def has_markup(text: str) -> bool:
    """Jinja would do something with it."""
    return "{{" in text or "{%" in text or "{#" in text


def with_shared(package: Package, spec: MailSpec, files_root: Path) -> Package:
    """The package with every attachment of the spec that is the same for all rows. Raises ContentError."""
    missing = [path for path in spec.attachments if not has_markup(path) and path not in package.shared]
    return replace(
        package, shared={**package.shared, **{path: contents(files_root, path) for path in missing}}
    )


def record(root: Path, path: str) -> RowFile:
    """What the file is now, to be compared when it is sent. Raises ContentError that names the path."""
    full = _below(root, path)
    try:
        found = full.stat()
    except OSError as error:
        raise _unreadable(root, path, error) from None
    return _recorded(root, path, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=1024)
def _recorded(root: Path, path: str, _mtime: int, _size: int, _inode: int) -> RowFile:
    data = contents(root, path)
    return RowFile(path, len(data), sha256(data).hexdigest())


def verified(root: Path, file: RowFile) -> bytes:
    """The octets that were recorded, or ContentError: the file has changed since."""
    data = contents(root, file.path)
    if len(data) != file.size or sha256(data).hexdigest() != file.sha256:
        raise ContentError(f"attachment {file.path!r} has changed since the campaign was opened")
    return data


def contents(root: Path, path: str) -> bytes:
    """The file's octets. Raises ContentError: outside the root, missing, a link, no plain file, too large."""
    full = _below(root, path)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(root, path, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ContentError(f"attachment {path!r} is not a file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise ContentError(f"attachment {path!r} is larger than {FILE_LIMIT} bytes")
    return data


def _below(root: Path, path: str) -> Path:
    """The path below the root, with its folders resolved: no ``..``, and no link that leads out."""
    parts = path.split("/")
    if not path or posixpath.isabs(path) or ".." in parts or "\\" in path or not path.isprintable():
        raise ContentError(f"attachment {path[:200]!r} is not a path below the files folder")
    wall = os.path.realpath(root)
    folder = os.path.realpath(Path(root, *parts[:-1]))
    if os.path.commonpath((wall, folder)) != wall:
        raise ContentError(f"attachment {path!r} leads out of the files folder")
    return Path(folder, parts[-1])


def _unreadable(root: Path, path: str, error: OSError) -> ContentError:
    if error.errno == errno.ELOOP:
        return ContentError(
            f"attachment {path!r} is a symbolic link", hint="Links are not followed: put the file there."
        )
    return ContentError(
        f"attachment {path!r} cannot be read: {error.strerror or error}",
        hint=f"Attachments lie below {root} (the setting `files`).",
    )
