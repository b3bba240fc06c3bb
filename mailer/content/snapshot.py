"""Package and MailSpec as JSON and blobs, and back, so a worker elsewhere compiles the same mail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Any

from mailer.content.contract import MailSpec, Package
from mailer.errors import TemplateError

_TUPLES = frozenset({"reply_to", "cc", "bcc", "attachments", "required", "list_unsubscribe", "dsn_notify"})


def pack(package: Package, spec: MailSpec) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(a dictionary that JSON can hold, the contents by sha256)."""
    blobs: dict[str, bytes] = {}

    def stored(contents: Mapping[str, bytes]) -> dict[str, str]:
        names = {}
        for name, data in sorted(contents.items()):
            names[name] = sha256(data).hexdigest()
            blobs[names[name]] = data
        return names

    files, shared = stored(package.files), stored(package.shared)
    return {"root": package.root, "files": files, "shared": shared, "spec": _plain(spec)}, blobs


def unpack(snapshot: Mapping[str, Any], blob: Callable[[str], bytes]) -> tuple[Package, MailSpec]:
    """The inverse. ``blob`` gives the content of a sha256. Raises TemplateError for damaged content."""

    def fetched(names: Mapping[str, str]) -> dict[str, bytes]:
        contents = {name: blob(digest) for name, digest in names.items()}
        for name, data in contents.items():
            if sha256(data).hexdigest() != names[name]:
                raise TemplateError("the stored content is damaged", name)
        return contents

    package = Package(snapshot["root"], fetched(snapshot["files"]), fetched(snapshot["shared"]))
    # A field this version does not know was written by a newer one; the rest still makes the mail.
    known = {field.name for field in fields(MailSpec)}
    given: dict[str, Any] = {name: value for name, value in snapshot["spec"].items() if name in known}
    for name in _TUPLES & given.keys():
        given[name] = tuple(given[name])
    return package, MailSpec(**given)


def digest(package: Package, spec: MailSpec) -> str:
    """sha256 in hex: equal exactly when the same mail would be made of the same row."""
    snapshot, _ = pack(package, spec)
    return sha256(json.dumps(snapshot, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _plain(spec: MailSpec) -> dict[str, Any]:
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    for name, value in values.items():
        if isinstance(value, Mapping):
            values[name] = dict(value)
        elif name in _TUPLES:
            values[name] = list(value)
    return values
