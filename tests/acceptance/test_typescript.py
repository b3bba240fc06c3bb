"""A client in TypeScript: generated from the OpenAPI document, compiled, run against a server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.node.packages import NODE, node_packages
from tests.servers import PATIENCE, need
from tests.serving import serving

TEMPLATE = """
from = "Acme Shop <shop@acme.example>"
subject = "Your order {{ order.number }}"
variables = ["order", "total"]
[sample]
total = "12.50"
order = { number = 7 }
"""


@pytest.fixture
def server(tmp_path):
    (tmp_path / "templates/receipt").mkdir(parents=True)
    (tmp_path / "templates/receipt/mail.toml").write_text(TEMPLATE)
    (tmp_path / "templates/receipt/body.txt").write_text("You paid {{ total }}.\n")
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
    with serving(tmp_path) as served:
        yield served


def run(folder: Path, *command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_client_that_is_generated_from_the_document_compiles_and_is_understood(server, tmp_path):
    modules = node_packages("openapi-typescript", "openapi-fetch", "typescript")
    project = tmp_path / "shop"
    project.mkdir()
    (project / "node_modules").symlink_to(modules)
    for name in ("package.json", "tsconfig.json", "node.d.ts", "shop.ts"):
        (project / name).write_text((NODE / name).read_text())
    (project / "openapi.json").write_text(server.client.get("/openapi.json").text)

    tools = modules / ".bin"
    run(project, tools / "openapi-typescript", "openapi.json", "--output", "schema.d.ts")
    run(project, tools / "tsc")
    told = json.loads(run(project, need("node"), "shop.js", server.url, server.key))

    assert told == {
        "id": told["id"],
        "again": [told["id"], True],
        "state": "accepted",
        "metadata": {"order": "7"},
        "attempts": [250],
        "batch": [202, 422],
        "refused": [422, ["sender"]],
        "listed": ["bob@example.org"],
        "missing": [422, ["data.order", "data.total"]],
        "conflict": [409, []],
        "nobody": [404, []],
        "preview": "Your order 7",
    }
