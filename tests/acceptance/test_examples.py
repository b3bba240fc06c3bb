"""``examples/`` as they are started by a person: each in a folder with settings and templates."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import PATIENCE, free_port, wait_until
from tests.working import environment

ROOT = Path(__file__).resolve().parents[2]
RECEIPT = {
    "name": "Ada",
    "order_number": "7",
    "items": [{"title": "Pen", "quantity": 1, "price": "3.50"}],
    "total": "3.50",
    "currency": "EUR",
    "paid_with": "Visa",
    "order_url": "https://acme.example/orders/7",
}
ORDER = {"number": 7, "email": "ada@example.org", "receipt": RECEIPT}


@pytest.fixture
def site(tmp_path) -> Path:
    """Messages end as files in ``out``."""
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
    for name in ("receipt", "_layouts"):
        shutil.copytree(ROOT / "templates" / name, tmp_path / "templates" / name)
    return tmp_path


def subjects(site: Path) -> list[str]:
    texts = [file.read_text() for file in (site / "out/new").glob("*")]
    return sorted(line[9:] for text in texts for line in text.splitlines() if line.startswith("Subject: "))


def plain_python(site: Path, orders: list[dict]) -> subprocess.CompletedProcess[str]:
    (site / "orders.json").write_text(json.dumps(orders))
    return subprocess.run(
        [sys.executable, ROOT / "examples/plain_python.py", "orders.json"],
        check=False,
        cwd=site,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_a_script_that_runs_twice_sends_once(site):
    first = plain_python(site, [ORDER])
    again = plain_python(site, [ORDER])
    wrong = plain_python(site, [ORDER | {"receipt": {"name": "Ada"}}])

    assert first.stdout == "order 7: accepted\n", first.stderr
    assert again.stdout == "order 7: accepted, handed over before\n", again.stderr
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "nothing was sent: the template 'receipt' needs data for: currency, items" in wrong.stderr
    assert subjects(site) == ["Your receipt for order 7"]


@pytest.fixture
def django_site(site) -> Iterator[httpx.Client]:
    port = free_port()
    command = [
        sys.executable,
        ROOT / "examples/django_project.py",
        "runserver",
        "--noreload",
        f"127.0.0.1:{port}",
    ]
    process = subprocess.Popen(command, cwd=site, env=environment(), stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            wait_until(lambda: answers(client), "Django")
            yield client
    finally:
        process.kill()
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 404
    except httpx.TransportError:
        return False


def test_a_django_project_sends_by_its_backend_and_by_template(django_site, site):
    for _ in range(2):
        assert django_site.post("/orders", json=ORDER).status_code == 201
    assert django_site.post("/contact", json={"question": "When?"}).json() == {"sent": 1}

    wait_until(lambda: subjects(site) == ["A question", "Your receipt for order 7"], "both messages")
