"""Recipients from standard input: on disk first, because they are read more than once."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from mailer.errors import RecipientsError


def spool(stream: BinaryIO, folder: Path) -> Path:
    """A new file in ``folder`` with everything that the stream holds, readable by its owner only.

    The caller deletes it. Raises RecipientsError when the stream is empty or the disk is full; then no
    file stays.
    """
    handle, name = tempfile.mkstemp(prefix="recipients-", dir=folder)  # mode 0600
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
            size = file.tell()
    except OSError as error:
        path.unlink()
        raise RecipientsError(f"standard input cannot be stored: {error.strerror}", str(folder)) from error
    except BaseException:
        path.unlink()
        raise
    if not size:
        path.unlink()
        raise RecipientsError(
            "standard input is empty", hint="Pipe a list into this command, or name a file."
        )
    return path
