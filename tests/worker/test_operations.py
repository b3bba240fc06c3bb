"""What operators see of running workers: metrics, health, logs; and that the pages about them are true."""

import json
import logging
import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mailer.cli.metrics import COUNTED, Collector, Reports
from mailer.ledger.contract import CampaignState
from mailer.logs import redacted, set_up
from mailer.message import State
from tests.forked import command
from tests.servers import PATIENCE, free_port, wait_until
from tests.working import run, supervised, worker, write_settings

PAGES = Path(__file__).parents[2] / "docs" / "operations"
CANARY = "canary-7c1f@private.example"
PASSWORD = "s3cret-canary"


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def samples(text):
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for f in families for sample in f.samples
    }


def test_metrics_health_and_logs_of_a_run_with_failures(tmp_path, world, redis_server, smtp_sink):
    port = free_port()
    write_settings(tmp_path, broker=redis_server.url, backend=smtp_sink().url)
    with (tmp_path / "mailer.toml").open("a") as file:
        file.write(f'[backends.dead]\nurl = "smtp://someone:{PASSWORD}@127.0.0.1:{free_port()}?tls=none"\n')
    settings = f'log_format = "json"\nlog_level = "info"\nmetrics_port = {port}\n'
    (tmp_path / "mailer.toml").write_text(settings + (tmp_path / "mailer.toml").read_text())
    fine = world.campaign(40, address="canary-{n}@private.example")
    world.campaign(3, address="canary-{n}@private.example", backend="dead")
    url = f"http://127.0.0.1:{port}"
    with supervised(tmp_path, "--queues", "bulk"):
        wait_until(lambda: world.now(fine).state is CampaignState.FINISHED, "finished")

        def told():
            return samples(get(f"{url}/metrics")).get(("mailer_settled_total", "accepted", "main")) == 40

        wait_until(told, "counted")
        wait_until(lambda: samples(get(f"{url}/metrics")).get(("mailer_rests_total", "dead")), "rested")
        seen = samples(get(f"{url}/metrics"))
        health = json.loads(get(f"{url}/healthz"))
    log = (tmp_path / "supervisor.log").read_text()

    assert health == {"bulk-1": True}
    assert seen["mailer_rows", "accepted", "main"] == 40
    assert seen["mailer_hints_total", "claimed"] >= 1
    assert seen["mailer_hints_total", "published"] >= 1
    assert seen["mailer_worker_up", "bulk-1"] == 1
    assert seen["mailer_ledger_up",] == 1
    lines = [json.loads(line) for line in log.splitlines() if line not in without_uid(log)]
    assert any(line["action"].startswith("stopping") for line in lines)
    assert len({line["process"] for line in lines}) == 2  # the supervisor and its worker
    assert f"bulk-1@{socket.gethostname()} ready." in [line["action"] for line in lines]
    assert any(line["level"] == "warning" and "dead" in line["action"] for line in lines)
    assert any(line.get("campaign") == str(fine.id) for line in lines)
    everything = "\n".join(path.read_text() for path in tmp_path.glob("*.log")) + get_text(seen)
    assert PASSWORD not in everything
    assert "private.example" not in everything


def test_what_workers_find_of_a_backend_is_listed(tmp_path, world, redis_server):
    write_settings(
        tmp_path,
        broker=redis_server.url,
        backend=f"smtp://someone:{PASSWORD}@127.0.0.1:{free_port()}?tls=none",
    )
    world.campaign(3)

    def listed():
        return run(tmp_path, command, "backends", "list", "--json")

    one = {}

    def found():  # not known, when Redis took too long to say
        one.update(json.loads(listed().stdout))
        return one["circuit"] in {"open", "half-open"}  # the rest of 2 s may just be over

    with worker(tmp_path):
        wait_until(found, "found out of order")

    def shown():
        text = run(tmp_path, command, "backends", "list").stdout
        return "open since" in text and "refuses connections" in text

    wait_until(shown, "shown")
    redis_server.process.kill()
    away = listed()

    assert "refuses connections" in one["circuit_reason"]
    assert one["circuit_since"] < one["circuit_until"]
    assert (away.returncode, json.loads(away.stdout)["circuit"]) == (0, None)
    assert "circuits are not known: the limits in redis://127.0.0.1" in away.stderr


def without_uid(log):
    """What Celery says to root, before it asks how to log."""
    return [line for line in log.splitlines() if not line.startswith("{")] if os.geteuid() == 0 else []


def get_text(seen):
    return "\n".join(" ".join(key) for key in seen)


def test_without_a_worker_that_reports_health_is_bad(tmp_path):
    from mailer.cli.metrics import serve

    alive = {"bulk-1": False}
    collector = Collector(Reports(), lambda: alive, f"sqlite:///{tmp_path}/none/mailer.db")
    port = serve(0, "127.0.0.1", collector, lambda: alive)
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        get(f"http://127.0.0.1:{port}/healthz")
    caught.value.close()

    seen = samples(get(f"http://127.0.0.1:{port}/metrics"))
    assert seen["mailer_worker_up", "bulk-1"] == 0
    assert seen["mailer_ledger_up",] == 0


def test_counters_do_not_go_back_when_a_worker_ends():
    reports = Reports()
    reports.hear("bulk-1", 1, {"counts": [["settled", "accepted", "main", 7]], "gauges": {}})
    reports.ended("bulk-1", 1)
    reports.hear("bulk-1", 2, {"counts": [["settled", "accepted", "main", 2]], "gauges": {}})

    assert reports.counts() == {("settled", "accepted", "main"): 9}
    assert reports.deaths() == {"bulk-1": 1}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"550 5.1.1 <{CANARY}>: no such user", "550 5.1.1 <<address>>: no such user"),
        (f"smtp://someone:{PASSWORD}@mail.example:25", "smtp://mail.example:25"),
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer ***"),
        ("campaign 7: finished", "campaign 7: finished"),
    ],
)
def test_addresses_and_secrets_are_taken_out_of_every_line(text, shown):
    assert redacted(text) == shown


def test_the_name_of_a_worker_is_no_address():
    assert redacted("bulk-1@mx.example ready.", "bulk-1@mx.example") == "bulk-1@mx.example ready."
    assert redacted("no bulk-1@mx.example, ada@mx.example.", "bulk-1@mx.example") == (
        "no bulk-1@mx.example, <address>"
    )


def test_what_writes_down_urls_and_header_fields_is_kept_quiet(capfd):
    """httpx logs each URL, and that of a webhook is a key; hpack logs each header field."""
    root = logging.getLogger()
    former = root.handlers[:], root.level
    try:
        set_up("json", "debug")
        for name in ("httpx", "httpcore.http2", "hpack.hpack", "mailer.delivery"):
            logging.getLogger(name).debug("%s says %s", name, PASSWORD)
    finally:
        root.handlers[:], root.level = former
    (line,) = capfd.readouterr().err.splitlines()

    assert json.loads(line)["logger"] == "mailer.delivery"
    assert json.loads(line)["process"] == os.getpid()


# The pages.


def metric_names(tmp_path):
    collector = Collector(Reports(), dict, f"sqlite:///{tmp_path}/mailer.db")
    names = set()
    for family in collector.collect():
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def named(text):
    return set(re.findall(r"\bmailer_[a-z_]+", text))


def test_every_metric_that_the_pages_name_exists_and_is_documented(tmp_path):
    there = metric_names(tmp_path)
    readme = (PAGES / "README.md").read_text()
    dashboard = json.loads((PAGES / "dashboard.json").read_text())
    shown = {target["expr"] for panel in dashboard["panels"] for target in panel["targets"]}

    assert named((PAGES / "alerts.yml").read_text()) <= there
    assert named("\n".join(shown)) <= there
    assert named(readme) == there
    assert len(COUNTED) < len(there)


def test_every_alert_has_its_section_in_the_runbook():
    rules = yaml.safe_load((PAGES / "alerts.yml").read_text())["groups"][0]["rules"]
    sections = set(re.findall(r"^### (\w+)$", (PAGES / "README.md").read_text(), re.MULTILINE))

    assert {rule["alert"] for rule in rules} == sections
    assert all(rule["expr"] and rule["annotations"]["summary"] for rule in rules)
    assert State.UNKNOWN.value in str(rules)
