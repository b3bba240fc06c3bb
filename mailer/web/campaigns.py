"""``/v1/campaigns``: a list and a template become a campaign of the workers; state, control and results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from mailer.campaigns import control, results
from mailer.campaigns.loading import from_keys
from mailer.campaigns.opening import match, open_campaign
from mailer.campaigns.preflight import check
from mailer.campaigns.prepared import Prepared, prepare, stream_of
from mailer.campaigns.report import Report
from mailer.campaigns.spec import CampaignSpec
from mailer.errors import LedgerError, StateConflict
from mailer.ledger.contract import Campaign, Runner
from mailer.web import problems
from mailer.web.desk import Desk
from mailer.web.document import PROBLEMS, multipart_body
from mailer.web.problems import Problem
from mailer.web.uploads import Upload, received
from mailer.wiring import backend_name, knows_keys

#: Keys of a campaign file that name files of the server, which nobody outside may choose.
OURS = ("recipients", "attachments")

_EXAMPLE = {
    "name": "November newsletter",
    "template": "newsletter",
    "from": "Acme News <news@acme.example>",
    "subject": "{{ first_name }}, your November",
}
_HALF_OPEN = (
    "the campaign could not be opened, and nothing of it is sent; the same request goes on where this ended"
)
_CHANGES: dict[str, Callable[[Any, Campaign], control.Change]] = {
    "pause": control.pause,
    "resume": control.resume,
    "cancel": control.cancel,
}


def routes(desk: Desk) -> APIRouter:
    api = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])

    @api.post(
        "",
        status_code=201,
        summary="Open a campaign",
        responses=PROBLEMS,
        openapi_extra=multipart_body(_EXAMPLE),
    )
    async def post_campaign(request: Request, again: bool = False) -> Response:
        """Every row is parsed and rendered first. `spec` has the keys of a campaign file but `recipients` and
        `attachments`. The same list and spec once more gives the campaign that there is, and 409 when that is
        over, unless `again` is true."""
        await desk.gate.admit(request, "admin")
        if desk.settings.broker_url is None:
            raise Problem(409, "campaigns need workers: the server has no broker in its settings")
        async with received(request, desk.settings.api.max_upload) as upload:
            answer = await asyncio.to_thread(_opened, desk, upload, again)
        return problems.answer(201, answer)

    _add_questions(api, desk)
    for change in _CHANGES:
        _add_change(api, desk, change)
    return api


def _add_questions(api: APIRouter, desk: Desk) -> None:
    @api.get("", summary="All campaigns, newest last", responses=PROBLEMS)
    async def list_campaigns(request: Request) -> Response:
        await desk.gate.admit(request, "admin")
        return problems.answer(200, {"campaigns": await desk.threads.run(_all, desk)})

    @api.get("/{id}", summary="How far a campaign is", responses=PROBLEMS)
    async def get_campaign(request: Request, id: str) -> Response:  # noqa: A002 - its name in the path
        await desk.gate.admit(request, "admin")
        return problems.answer(200, await desk.threads.run(_status, desk, id))

    @api.get(
        "/{id}/results",
        summary="Every recipient with what became of it, as CSV",
        responses=PROBLEMS | {200: {"content": {"text/csv": {}}}},
    )
    async def get_results(request: Request, id: str) -> Response:  # noqa: A002 - its name in the path
        await desk.gate.admit(request, "admin")
        lines = await desk.threads.run(_results, desk, id)
        headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="results.csv"'}
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _add_change(api: APIRouter, desk: Desk, change: str) -> None:
    @api.post(
        f"/{{id}}/{change}",
        name=f"{change}_campaign",
        summary=f"{change.capitalize()} a campaign",
        responses=PROBLEMS,
    )
    async def change_campaign(request: Request, id: str) -> Response:  # noqa: A002 - its name in the path
        """When the answer comes, nothing new starts; `in_flight` messages finish."""
        await desk.gate.admit(request, "admin")
        return problems.answer(200, await desk.threads.run(_changed, desk, id, change))


# On a thread.


def _opened(desk: Desk, upload: Upload, again: bool) -> dict[str, Any]:
    spec = _spec(desk, upload)
    settings = desk.settings.for_stream(stream_of(spec, desk.settings.template_root))
    name = backend_name(settings, spec.backend)
    with prepare(
        spec,
        template_root=settings.template_root,
        files_root=settings.files_root,
        ledger_url=settings.ledger_url,
    ) as prepared:
        found = match(desk.ledger, prepared, again=again)
        if found.complete and found.campaign is not None:
            return control.status(desk.ledger, found.campaign)
        report = check(
            prepared,
            processes=1,
            suppressions=desk.ledger.suppressions,
            invalid_file=upload.recipients.with_name("invalid.csv"),
            keep_rows=True,
        )
        try:
            campaign = _open(desk, prepared, report, name, again)
        finally:
            report.close()
    return control.status(desk.ledger, campaign) | {"invalid": _invalid(report)}


def _open(desk: Desk, prepared: Prepared, report: Report, backend: str, again: bool) -> Campaign:
    if not report.valid:
        wrong = [(f"recipients line {one['line']}", one["reason"]) for one in _invalid(report)]
        raise Problem(422, "no row of the list can be sent", wrong)
    try:
        return open_campaign(
            desk.ledger,
            prepared,
            report,
            backend=backend,
            runner=Runner.WORKERS,
            again=again,
            start_at=prepared.spec.start_at,
            recipients_per_task=desk.settings.recipients_per_task,
            knows_keys=knows_keys(desk.settings.for_stream(prepared.stream), prepared.spec.backend),
        )
    except LedgerError as error:  # perhaps with some of the rows written, which the pump leaves alone
        raise problems.unavailable(error, _HALF_OPEN) from None


def _spec(desk: Desk, upload: Upload) -> CampaignSpec:
    """Raises Problem 400 and 422."""
    try:
        given = json.loads(upload.spec)
    except (ValueError, RecursionError):
        raise Problem(400, "`spec` is not JSON") from None
    if not isinstance(given, dict):
        raise Problem(422, "`spec` is not a JSON object", [("spec", "must be an object")])
    ours = [key for key in OURS if key in given]
    exclude = given.get("exclude", [])
    names = [exclude] if isinstance(exclude, str) else exclude
    if not isinstance(names, list) or not all(str(one).startswith("campaign:") for one in names):
        ours.append("exclude")
    if ours:
        raise problems.of_fields([(f"spec.{key}", "names files of the server") for key in ours])
    if given.get("backend") is not None:
        desk.known_backend(str(given["backend"]))
    found = from_keys(given | {"recipients": str(upload.recipients)})
    if isinstance(found, CampaignSpec):
        return found
    raise problems.of_fields([(f"spec.{one.key}", one.text) for one in found])


def _invalid(report: Report) -> list[dict[str, Any]]:
    """The first few rows that cannot be sent."""
    return [{"line": one.line, "column": one.column, "reason": one.reason} for one in report.first_invalid]


def _campaign(desk: Desk, id_: str) -> Campaign:
    """By its whole id. Raises Problem 404."""
    found = [one for one in desk.ledger.campaigns.list() if one.slug == id_]
    if not found:
        raise Problem(404, "there is no campaign of this id")
    return found[0]


def _all(desk: Desk) -> list[dict[str, Any]]:
    return [control.status(desk.ledger, one) for one in desk.ledger.campaigns.list()]


def _status(desk: Desk, id_: str) -> dict[str, Any]:
    return control.status(desk.ledger, _campaign(desk, id_))


def _changed(desk: Desk, id_: str, change: str) -> dict[str, Any]:
    campaign = _campaign(desk, id_)
    if campaign.runner is Runner.EMBEDDED and change == "resume":
        raise StateConflict("it was opened by `mailer send`, and goes on with `mailer resume` there")
    done = _CHANGES[change](desk.ledger, campaign)
    if campaign.runner is Runner.WORKERS:
        desk.broadcast.heed()
    return control.status(desk.ledger, done.campaign) | {"in_flight": done.in_flight}


def _results(desk: Desk, id_: str) -> Iterator[str]:
    return results.pieces(desk.ledger, _campaign(desk, id_))
