"""A Celery worker in a process that is forked with its imports done, because it is there to be killed."""

from __future__ import annotations

import os
import sys

from mailer.publisher import worker_argv


def main(folder: str, name: str) -> None:
    """Work in ``folder`` until told to stop. The log is ``<name>.log`` there."""
    os.chdir(folder)
    os.setsid()
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from celery.bin.celery import main as celery  # reads its settings now, in this folder

    sys.argv = ["celery", *worker_argv(name=name)[3:]]
    celery()
