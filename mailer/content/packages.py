"""From a folder of templates to a ``Package``: everything the mail needs, read once, from nowhere else."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from mailer.content.contract import Package
from mailer.content.references import images_in, is_template, templates_in
from mailer.errors import TemplateError

#: The names of the bodies in a mail's folder; ``body.de.html`` is the German variant of the first.
BODIES = ("body.html", "body.mjml", "body.txt")
MANIFEST = "mail.toml"

_FILE_LIMIT = 10_000_000
_SOURCE_LIMIT = 1_000_000
_TOTAL_LIMIT = 25_000_000
_COUNT_LIMIT = 500
_NAME_LIMIT = 255  # what file systems take


def load(template_root: Path, name: str) -> Package:
    """The mail ``name`` below ``template_root``: a folder with bodies, or one ``.html`` or ``.txt`` file.

    Takes the folder, every ``_folder`` beside it (layouts, partials), and what these refer to. Raises
    TemplateError for what is missing, too large or outside the root.
    """
    reader = _Reader(template_root)
    clean = _inside(name.rstrip("/"), name)
    target = template_root / clean
    if target.is_dir():
        reader.take_folder(clean)
        if not any(_is_body(posixpath.basename(file), clean, file) for file in reader.files):
            raise TemplateError(
                f"the template has none of {', '.join(BODIES)}", str(target), hint=_there_is(target)
            )
    elif target.is_file() and is_template(clean):
        reader.take(clean)
    else:
        raise TemplateError(
            f"there is no template {name!r}", str(template_root), hint=_there_is(template_root)
        )
    for folder in sorted(template_root.iterdir()):
        if folder.is_dir() and folder.name.startswith("_"):
            reader.take_folder(folder.name)
    reader.take_what_they_use()
    return Package(root=clean, files=dict(sorted(reader.files.items())))


def templates(template_root: Path) -> list[str]:
    """The names of the mails that lie there, by folder."""
    if not template_root.is_dir():
        return []
    found = {file.parent for body in BODIES for file in template_root.glob(f"**/{body}")}
    names = [folder.relative_to(template_root).as_posix() for folder in found if folder != template_root]
    return sorted(name for name in names if not name.startswith(("_", ".")))


def folder_of(package: Package) -> str:
    """The mail's own folder below the template root; empty for a single file that lies in the root."""
    return posixpath.dirname(package.root) if package.root in package.files else package.root


def _is_body(base: str, folder: str, file: str) -> bool:
    first, *_, last = base.split(".")
    return posixpath.dirname(file) == folder and first == "body" and f"body.{last}" in BODIES


def _inside(path: str, shown: str) -> str:
    """A normal relative path, or TemplateError: the root is a wall."""
    clean = posixpath.normpath(path)
    if not path or clean.startswith(("/", "..")) or clean == "." or "\\" in path or "\0" in path:
        raise TemplateError(f"{shown!r} does not lie below the template folder")
    if any(len(part.encode(errors="replace")) > _NAME_LIMIT for part in clean.split("/")):
        raise TemplateError(f"a file name here has no more than {_NAME_LIMIT} bytes")
    return clean


def _there_is(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    names = [name for name in names if not name.startswith((".", "_"))]  # layouts are no templates
    return f"There is: {', '.join(names[:20])}" if names else "The folder is empty or does not exist."


class _Reader:
    """Reads files below one root, each at most once, and counts what it took."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise TemplateError("the template folder does not exist", str(root))
        self._root = root
        self._wall = os.path.realpath(root)
        self._total = 0
        self.files: dict[str, bytes] = {}

    def take(self, name: str) -> None:
        if name in self.files:
            return
        path = self._root / name
        real = os.path.realpath(path)
        if os.path.commonpath((real, self._wall)) != self._wall:
            raise TemplateError("this file leads out of the template folder", str(path))
        limit = _SOURCE_LIMIT if is_template(name) else _FILE_LIMIT
        with Path(real).open("rb") as file:
            data = file.read(limit + 1)
        self._total += len(data)
        if len(data) > limit:
            raise TemplateError(f"this file is larger than {limit} bytes", str(path))
        if self._total > _TOTAL_LIMIT or len(self.files) >= _COUNT_LIMIT:
            raise TemplateError(
                f"the template is larger than {_TOTAL_LIMIT} bytes or {_COUNT_LIMIT} files", str(path)
            )
        self.files[name] = data

    def take_folder(self, name: str) -> None:
        for folder, folders, files in os.walk(self._root / name):
            folders[:] = sorted(below for below in folders if not below.startswith("."))
            for file in sorted(files):
                if not file.startswith((".", "~")) and not file.endswith("~"):
                    self.take((Path(folder) / file).relative_to(self._root).as_posix())

    def take_what_they_use(self) -> None:
        """References of references too. What is not there is left for compiling to name, with its line."""
        todo = [name for name in self.files if is_template(name)]
        while todo:
            user = todo.pop()
            for name in self._wanted_by(user):
                if name not in self.files and (self._root / name).is_file():
                    self.take(name)
                    todo.append(name)

    def _wanted_by(self, user: str) -> Iterator[str]:
        source = self.files[user].decode("utf-8", "replace")
        paths = (
            [*templates_in(source), *(path for _, _, path in images_in(source))] if is_template(user) else []
        )
        for path in paths:
            for folder in ("", posixpath.dirname(user)):
                name = posixpath.normpath(posixpath.join(folder, path))
                if not name.startswith(("/", "..")) and "\0" not in name:
                    yield name
