"""What ``mailer init`` writes: a working example."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mailer.errors import CampaignError

_HERE = Path(__file__).parent / "starter"
_FILES = ("mailer.toml", "campaign.toml", "recipients.csv")


def write(folder: Path) -> list[str]:
    """Write the example into ``folder`` (made if need be) and return the names of its files.

    Raises CampaignError, and writes nothing, when one of them exists already.
    """
    there = [name for name in (*_FILES, "templates") if (folder / name).exists()]
    if there:
        raise CampaignError(
            f"there is {', '.join(there)} already, and nothing was written",
            str(folder),
            hint="Choose another folder: mailer init NAME",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            target = folder / name
            target.touch(mode=0o600, exist_ok=False)  # a list of addresses is for its owner
            target.write_text(starter_text(name), encoding="utf-8")
        copy_templates(folder / "templates")
    except OSError as error:
        raise CampaignError(f"cannot be written: {error.strerror}", error.filename or str(folder)) from error
    return [*_FILES, "templates/"]


def starter_text(name: str) -> str:
    """One of the files that come with the program."""
    return (_HERE / name).read_text(encoding="utf-8")


def copy_templates(target: Path) -> None:
    """The templates that come with the program; what was in ``target`` is replaced."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(templates(), target)


def templates() -> Path:
    """Beside this file in an installed wheel, at the top of the tree in a checkout."""
    installed = _HERE / "templates"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "templates"


def private_folder(path: Path) -> None:
    """Make sure that it exists; a new one is for its owner only."""
    if not path.is_dir():
        path.mkdir(parents=True)
        os.chmod(path, 0o700)  # noqa: PTH101 - mkdir's mode depends on the umask
