"""Celery's events, as Flower and ``celery events`` read them; only when asked for."""

from __future__ import annotations

import json
import threading

from celery import Celery

from mailer.ledger.contract import CampaignState
from mailer.publisher import configuration
from tests.servers import wait_until
from tests.working import worker, write_settings

LIFE = ["task-received", "task-started", "task-succeeded"]


class Listener:
    """What a monitor hears, without a gap, until ``close``."""

    def __init__(self, broker: str) -> None:
        self.heard: list[dict] = []
        self._app = Celery(set_as_current=False)
        self._app.conf.update(configuration(broker))
        self._receiver = self._app.events.Receiver(self._app.connection_for_read(), {"*": self.heard.append})
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.heard if event["type"].startswith(kind)]

    def of_first(self) -> list[str]:
        """The life of the first task. Of a hint that nobody claims within five seconds there is another."""
        tasks = self.of("task-")
        return [event["type"] for event in tasks if event["uuid"] == tasks[0]["uuid"]]

    def close(self) -> None:
        self._receiver.should_stop = True  # looked at once a second
        self._thread.join()
        self._app.close()

    def _listen(self) -> None:
        # One subscription for all: Redis keeps nothing for whom is away between two.
        with self._receiver.connection:
            self._receiver.capture(wakeup=False)


def test_a_monitor_sees_each_task_and_nothing_of_what_it_carries(tmp_path, world, redis_server, smtp_sink):
    write_settings(tmp_path, broker=redis_server.url, backend=smtp_sink().url)
    listener = Listener(redis_server.url)
    try:
        with worker(tmp_path, "w1", "--task-events"):
            wait_until(lambda: listener.of("worker-"), "the worker is seen")
            campaign = world.campaign(5)
            wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")
            wait_until(lambda: listener.of_first() == LIFE, "the task is seen")
    finally:
        listener.close()

    seen = listener.of("task-")
    assert listener.of_first() == LIFE
    assert seen[0]["name"] == "mailer.deliver"
    assert {event["hostname"].partition("@")[0] for event in seen} == {"w1"}
    told = json.dumps(seen)
    assert "example" not in told
    assert str(world.ids(campaign, 1)[0]) not in told
