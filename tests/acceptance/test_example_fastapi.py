"""``examples/fastapi_app.py`` under a real server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import PATIENCE, wait_until
from tests.working import environment

LISTENS = re.compile(r"(http://[\d.]+:\d+) \(Press")
ROOT = Path(__file__).resolve().parents[2]
ORDER = {
    "number": 7,
    "email": "ada@example.org",
    "name": "Ada",
    "items": [{"title": "Notebook", "quantity": 1, "price": "12.50"}],
    "total": "12.50",
    "paid_with": "Visa",
}


@pytest.fixture
def shop(tmp_path):
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
    log = tmp_path / "shop.log"
    command = [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", "0"]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=output, stderr=output)
    try:
        wait_until(lambda: LISTENS.search(log.read_text()) or process.poll() is not None, "shop")
        found = LISTENS.search(log.read_text())
        assert found, log.read_text()
        with httpx.Client(base_url=found[1], timeout=PATIENCE) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def test_an_order_that_is_placed_twice_is_one_receipt(shop, tmp_path):
    first, second = (shop.post("/orders", json=ORDER).json() for _ in range(2))

    assert first == second
    path = f"/receipts/{first['receipt']}"
    wait_until(lambda: shop.get(path).json()["state"] == "accepted", "accepted")
    (file,) = (tmp_path / "out/new").iterdir()
    assert "Subject: Your receipt for order 7" in file.read_text()
    assert shop.post("/orders", json=ORDER | {"email": "nobody", "number": 8}).status_code == 422
    assert shop.get("/receipts/none").status_code == 404
