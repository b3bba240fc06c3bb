"""The Node packages that tests use; scripts/install-test-servers.sh installs what package.json names."""

from __future__ import annotations

from pathlib import Path

from tests.servers import missing, need

NODE = Path(__file__).parent
MODULES = NODE / "node_modules"


def node_packages(*names: str) -> Path:
    """The folder that has all of these. Without Node or them: a skip on a laptop, a failure in CI."""
    need("node")
    for name in names:
        if not (MODULES / name).is_dir():
            missing(f"the Node package {name}")
    return MODULES
