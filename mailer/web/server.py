"""The application as an ASGI server's processes make it."""

from __future__ import annotations

import gc
import os

from fastapi import FastAPI

from mailer.logs import set_up
from mailer.settings import Settings
from mailer.web.app import build

#: From the command to the processes that it starts: how many they are.
PROCESSES = "MAILER_API_PROCESSES"
#: Objects between two collections: a batch makes many, and keeps none of them.
YOUNG = 50_000


def application() -> FastAPI:
    """For any ASGI server: ``uvicorn --factory mailer.web.server:application``. Reads the settings itself."""
    settings = Settings.load()
    set_up(settings.log_format, settings.log_level)
    api = build(settings, int(os.environ.get(PROCESSES, "1")))
    # What was imported stays; the collector need not look at it with every thousand messages.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
    return api
