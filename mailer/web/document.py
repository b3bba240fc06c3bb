"""The OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from mailer.web import models
from mailer.web.problems import MEDIA_TYPE, TITLES

_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "description": "The same key and body within 24 hours gives the same answer; another body gives 409.",
}
_REFERENCE = {"schema": {"$ref": "#/components/schemas/ProblemOut"}}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": TITLES[status], "content": {MEDIA_TYPE: _REFERENCE}} for status in statuses
    }


#: What any request may be answered.
PROBLEMS = problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


def json_body(model: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    """For a route that reads its body itself."""
    content = {
        "schema": {"$ref": f"#/components/schemas/{model}"},
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {
        "parameters": [_KEY_HEADER],
        "requestBody": {"required": True, "content": {"application/json": content}},
    }


def multipart_body(spec: Mapping[str, Any]) -> dict[str, Any]:
    """For a route that takes a recipient list."""
    properties = {
        "spec": {"type": "object", "description": "as a campaign file", "example": dict(spec)},
        "recipients": {"type": "string", "format": "binary", "description": "CSV, with a header"},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def install(api: FastAPI) -> None:
    """FastAPI knows what routes declare; what they read by themselves is added."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = made()
            bodies = (models.MessageIn, models.BatchIn, models.ProblemOut)
            _, known = models_json_schema(
                [(model, "validation") for model in bodies], ref_template="#/components/schemas/{model}"
            )
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(known["$defs"])
            _drop_null_defaults(components["schemas"])
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
        return api.openapi_schema or {}

    vars(api)["openapi"] = openapi  # FastAPI's own way to extend it


def _drop_null_defaults(schemas: Mapping[str, Any]) -> None:
    """Generators of typed clients take what has a default, even null, for something that must be given."""
    for schema in schemas.values():
        for about in schema.get("properties", {}).values():
            if "default" in about and about["default"] is None:
                del about["default"]
