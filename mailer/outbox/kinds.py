"""Kinds of messages: the templates of an application, compiled, and the one kind without a template."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailer.content import letters
from mailer.content.attachments import with_shared
from mailer.content.columns import identifier
from mailer.content.contract import MailSpec, Package
from mailer.content.letters import LetterComposer
from mailer.content.manifest import Manifest, manifest
from mailer.content.packages import load
from mailer.content.snapshot import digest
from mailer.errors import InputError

#: Variables that every template has, whatever the data.
GIVEN = frozenset({"email", "language"})
#: Templates are looked at for changes no more often than this, in seconds.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Kind:
    """One template as it is now; ``name`` is empty for messages that bring their content along."""

    name: str
    package: Package
    mail: MailSpec
    about: Manifest
    composer: LetterComposer
    digest: str
    #: Variables that a message must bring along.
    needs: frozenset[str]
    #: Composing is for one thread at a time.
    lock: threading.Lock


class Kinds:
    """Compiled at the first use and again when a file has changed. Safe for threads."""

    def __init__(self, template_root: Path, files_root: Path) -> None:
        self.files_root = files_root
        self._root = template_root
        self._kinds: dict[str, Kind] = {}
        self._stamp: tuple[int, ...] = ()
        self._look_at = 0.0
        self._lock = threading.Lock()

    def get(self, name: str | None) -> Kind:
        """Raises TemplateError, or ContentError for a shared attachment."""
        with self._lock:
            self._forget_what_changed()
            found = self._kinds.get(name or "")
            if found is None:
                found = self._kinds[name or ""] = self._compiled(name) if name else _kind("", letters.INLINE)
            return found

    def _compiled(self, name: str) -> Kind:
        package = load(self._root, name)
        mail = _mail(manifest(package))
        return _kind(name, with_shared(package, mail, self.files_root), mail, self.files_root)

    def _forget_what_changed(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        stamp = tuple(_stamps(self._root))
        if stamp != self._stamp:
            self._stamp = stamp
            self._kinds.clear()


def _mail(about: Manifest) -> MailSpec:
    return MailSpec(
        # A message may name another; the template need not have one then.
        sender=about.sender or "nobody@example.org",
        subject=about.subject,
        reply_to=(about.reply_to,) if about.reply_to else (),
        stream=about.stream or "transactional",
        locale=about.locale or "en",
        timezone=about.timezone or "UTC",
    )


_NO_TEMPLATE = MailSpec(sender="", stream="transactional")


def _kind(name: str, package: Package, mail: MailSpec = _NO_TEMPLATE, files_root: Path | None = None) -> Kind:
    about = manifest(package) if package.files else Manifest()
    if about.on_unknown not in (None, "hold", "retry"):
        raise InputError(f"on_unknown is hold or retry, not {about.on_unknown!r}", f"{name}/mail.toml")
    composer = letters.composer(package, mail, files_root=files_root)
    needs = frozenset(map(identifier, about.variables)) - GIVEN
    return Kind(name, package, mail, about, composer, digest(package, mail), needs, threading.Lock())


def _stamps(folder: Path) -> Iterator[int]:
    """Times of every file and folder below; nothing for a folder that is not there."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        yield entry.stat(follow_symlinks=False).st_mtime_ns
        if entry.is_dir():
            yield from _stamps(Path(entry.path))
