"""Who is told when a campaign stops by itself or ends, and that nothing waits for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mailer.backends.contract import BackendConfig
from mailer.delivery.brake import BrakeLimits
from mailer.delivery.notices import Notifier, NotifyConfig
from mailer.delivery.oversight import Care, Oversight
from mailer.delivery.pump import LIST_SECONDS
from mailer.ledger.contract import CampaignState, Runner, Settlement
from mailer.message import Rejected, Reply, State
from tests.delivering import World
from tests.unit.delivery.test_pump import Desk, finished, pump, run_until, until, working


class Hook(ThreadingHTTPServer):
    """A webhook that remembers what it got, and fails the first times."""

    def __init__(self, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures = failures
        self.got: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(503 if len(self.server.got) <= self.server.failures else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook(failures=2) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_an_alarm_is_told_though_the_ledger_keeps_none(world: World):
    told = []
    made = Notifier(NotifyConfig(), world.writer)
    made._channels.append(lambda notice: _kept(told, notice))
    care = Care(BrakeLimits(errors=0.05, least=1), notify=NotifyConfig())
    oversight = Oversight("pump", Runner.WORKERS, "p", care, only=None, copy=None)
    campaign = world.campaign([{"broken": "no name"}], stream="transactional", letters=True)
    oversight.keep(world.ledger)
    claimed = world.ledger.slices.claim(world.ids(campaign, 1), "w", 60)
    world.ledger.slices.settle([Settlement(claimed.rows[0].id, claimed.fence, State.FAILED)])

    oversight.look(world.ledger)  # between two seconds
    made.tell(oversight.keep(world.ledger).notices)
    await made.finish(5)

    (notice,) = told
    assert notice.payload()["event"] == "alarm"
    assert notice.payload()["reason"].startswith("1 of the last 1 were refused or failed")
    assert notice.payload()["state"] == "running"
    assert not oversight.keep(world.ledger).notices


async def _kept(told, notice):
    told.append(notice)


def notices(world: World, config: NotifyConfig):
    oversight = Oversight("pump", Runner.WORKERS, "p", Care(notify=config), only=None, copy=None)
    return oversight.notices(world.ledger)


async def test_a_webhook_gets_the_status_and_the_reason_without_addresses(world: World, hook: Hook):
    campaign = world.campaign(3)
    world.ledger.campaigns.pause(campaign.id, "backend 'main': 550 5.7.1 <ada@acme.example> not allowed")
    config = NotifyConfig(webhook=hook.url)
    notifier = Notifier(config, world.writer, waits=(0.0, 0.01, 0.01))

    notifier.tell(notices(world, config))
    await notifier.finish(20)

    assert len(hook.got) == 3  # two were refused
    told = hook.got[-1]
    assert (told["id"], told["event"], told["state"]) == (campaign.slug, "paused", "paused")
    assert told["counts"]["pending"] == 3
    assert told["reason"] == "backend 'main': 550 5.7.1 <<address>> not allowed"
    assert notices(world, config) == []


async def test_a_message_goes_through_the_backend_itself(world: World, tmp_path):
    campaign = world.campaign(0)
    world.ledger.schedule.finish(campaign.id)
    backend = BackendConfig("out", f"file:{tmp_path}/out", options={"format": "eml"})
    config = NotifyConfig(email="ops@acme.example", backend=backend)
    notifier = Notifier(config, world.writer)

    notifier.tell(notices(world, config))
    await notifier.finish(20)

    (file,) = (tmp_path / "out").rglob("*.eml")
    message = message_from_bytes(file.read_bytes())
    assert (message["To"], message["Subject"]) == ("ops@acme.example", f"mailer: {campaign.slug} finished")
    assert f"{campaign.slug} is finished." in message.get_payload(decode=True).decode()
    assert world.rows(campaign) == []


async def test_what_could_not_be_told_in_time_is_told_by_the_next(world: World):
    campaign = world.campaign(1)
    world.ledger.campaigns.pause(campaign.id, "the quota is used up")
    config = NotifyConfig(webhook="http://127.0.0.1:9/nobody-listens")
    notifier = Notifier(config, world.writer, waits=(60.0,))

    notifier.tell(notices(world, config))
    await notifier.finish(0.01)

    assert [notice.reason for notice in notices(world, config)] == ["the quota is used up"]


async def test_what_a_person_did_is_no_news(world: World):
    paused, resumed = world.campaign(1), world.campaign(1)
    world.ledger.campaigns.pause(paused.id, "by hand", by_person=True)
    world.ledger.campaigns.pause(resumed.id, "the quota is used up")
    world.ledger.campaigns.resume(resumed.id)

    assert notices(world, NotifyConfig(webhook="http://127.0.0.1:9/")) == []


async def test_a_pump_tells_of_the_end_and_of_unknown_rows(world: World, hook: Hook):
    hook.failures = 0
    campaign = world.campaign(2)
    await world.writer.claim(world.ids(campaign, 1), "dead", 30.0)
    claimed = world.ledger.slices.claim(world.ids(campaign, 2)[1:], "dead", 30.0)
    world.ledger.slices.mark([(world.ids(campaign, 2)[1], claimed.fence)])
    world.clock.ahead += 31
    made = working(world, world.engine(), care=Care(notify=NotifyConfig(webhook=hook.url)))

    await run_until(made, finished(world, campaign))
    await made.close()

    (told,) = hook.got
    assert (told["event"], told["counts"]["accepted"], told["counts"]["unknown"]) == ("finished", 1, 1)
    assert told["reason"].startswith("1 unknown: sent, but no answer came")


async def test_a_webhook_that_hangs_holds_up_no_mail(world: World):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as silent:  # accepts, and nobody answers
        config = NotifyConfig(webhook=f"http://127.0.0.1:{silent.server_port}/")
        first = world.campaign(0)
        world.ledger.schedule.finish(first.id)
        campaign = world.campaign(500)
        made = working(world, world.engine(), care=Care(notify=config))

        await run_until(made, finished(world, campaign))
        await made.close(0.01)

    assert world.states(campaign) == {State.ACCEPTED: 500}
    assert [one.id for one, _ in world.ledger.events.untold(Runner.WORKERS)] == [first.id, campaign.id]


async def test_the_brake_works_in_the_pump(world: World):
    def refuse(_) -> Rejected:
        world.clock.ahead += LIST_SECONDS / 100  # it is looked at after each hundred
        return Rejected(Reply("no", code=550))

    world.backend.script = refuse
    campaign = world.campaign(2000)
    made = working(world, world.engine(), care=Care(brake=BrakeLimits(errors=0.05)), capacity=100)

    await run_until(made, lambda: world.now(campaign).state is CampaignState.PAUSED)
    await until(lambda: not world.ledger.campaigns.in_flight(campaign.id))

    assert world.states(campaign)[State.REJECTED] < 1000
    assert "were refused or failed" in (world.now(campaign).reason or "")


async def test_without_anybody_to_tell_nothing_is_looked_up(world: World):
    campaign = world.campaign(0)
    world.ledger.schedule.finish(campaign.id)
    made = pump(world, Desk())
    world.ledger.events.untold = None  # type: ignore[assignment]  # would raise

    await made.tick()
    await made.close()
