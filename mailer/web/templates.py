"""``/v1/templates``: which there are, and what each looks like with the sample data of its ``mail.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from mailer.campaigns.preview import of_template
from mailer.content.packages import templates
from mailer.errors import TemplateError
from mailer.web import models, problems
from mailer.web.desk import Desk
from mailer.web.document import PROBLEMS
from mailer.web.problems import Problem


def routes(desk: Desk) -> APIRouter:
    api = APIRouter(prefix="/v1/templates", tags=["templates"])
    root = desk.settings.template_root

    @api.get("", summary="All templates", response_model=models.TemplatesOut, responses=PROBLEMS)
    async def list_templates(request: Request) -> Response:
        await desk.gate.admit(request, "read")
        return problems.answer(200, {"templates": await desk.threads.run(templates, root)})

    @api.get(
        "/{name:path}/preview",
        summary="A template with its sample data",
        response_model=models.PreviewOut,
        responses=PROBLEMS,
    )
    async def preview_template(request: Request, name: str) -> Response:
        await desk.gate.admit(request, "read")
        return problems.answer(200, await desk.threads.run(_preview, root, desk.settings.files_root, name))

    return api


def _preview(root: Path, files_root: Path, name: str) -> dict[str, Any]:
    if name not in templates(root):
        raise Problem(404, "there is no template of this name")
    try:
        shown = of_template(root, name, files_root=files_root)
    except TemplateError as error:
        raise Problem(422, error.message, [("template", error.message)]) from None
    return {"subject": shown.subject, "html": shown.html, "text": shown.text}
