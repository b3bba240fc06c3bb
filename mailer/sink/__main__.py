"""``python -m mailer.sink FILE``: the sink alone, for tests; people use ``mailer sink``."""

from __future__ import annotations

import sys
from pathlib import Path

from mailer.errors import ConfigError
from mailer.sink.config import load
from mailer.sink.runner import run

try:
    run(load(Path(sys.argv[1])), as_json=True, each=False)
except ConfigError as error:
    sys.exit(str(error))
