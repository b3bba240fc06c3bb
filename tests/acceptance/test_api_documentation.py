"""Every request of the HTTP API's page and of its OpenAPI document is sent, and answered as it says there."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from tests.servers import wait_until
from tests.serving import serving

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/http-api.md"
FENCE = re.compile(r"^```http\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def server(tmp_path):
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
    with serving(tmp_path) as served:
        yield served


def shape(value):
    """What a program relies on: names and kinds, not times and ids."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def test_the_requests_are_answered_as_the_page_says(server):
    id_ = "none"
    pairs = [
        (asked, said) for asked, said in pairwise(FENCE.findall(PAGE.read_text())) if said.startswith("HTTP/")
    ]
    assert len(pairs) >= 6

    for asked, said in pairs:
        head, _, body = asked.strip().partition("\n\n")
        (line, *headers) = head.splitlines()
        method, path = line.split(" ")
        answer = server.client.request(
            method,
            path.replace("{id}", id_),
            headers=server.headers() | dict(one.split(": ") for one in headers),
            json=json.loads(body) if body else None,
        )
        status, _, expected = said.strip().partition("\n\n")

        assert answer.status_code == int(status.split(" ")[1]), asked
        assert shape(answer.json()) == shape(json.loads(expected)), asked
        assert answer.status_code != 422 or answer.json() == json.loads(expected), asked
        if "id" in answer.json():
            id_ = answer.json()["id"]
            wait_until(
                lambda id_=id_: server.get(f"/v1/messages/{id_}").json()["state"] == "accepted", "accepted"
            )


def test_the_examples_of_the_openapi_document_are_taken_with_the_templates_that_come_along(server):
    paths = server.client.get("/openapi.json").json()["paths"]

    for path in ("/v1/messages", "/v1/messages/batch"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for name, example in examples.items():
            answer = server.post(path, example["value"])

            assert answer.status_code == 202, (path, name, answer.text)
            assert not any("errors" in one for one in answer.json().get("results", ())), (name, answer.text)
