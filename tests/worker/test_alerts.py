"""Alert rules and dashboard as Prometheus itself reads them, at rest and beside running workers."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from mailer.ledger.contract import CampaignState
from tests.servers import PATIENCE, Process, free_port, mailer_sink, need, wait_until
from tests.working import supervised, write_settings

PAGES = Path(__file__).parents[2] / "docs" / "operations"
RULES = PAGES / "alerts.yml"
TRIALS = PAGES / "alerts_test.yml"


def promtool(*arguments):
    command = [need("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules_and_they_do_as_their_tests_say():
    promtool("check", "rules", RULES)
    promtool("test", "rules", TRIALS)


def test_every_alert_is_shown_to_fire_and_to_stay_silent():
    alerts = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    shown = {"fires": set(), "is silent": set()}
    for trial in yaml.safe_load(TRIALS.read_text())["tests"]:
        alert, verb = re.match(r"(\w+) (fires|is silent) ", trial["name"]).groups()
        moments = trial["alert_rule_test"]
        assert {moment["alertname"] for moment in moments} == {alert}
        assert any(moment.get("exp_alerts") for moment in moments) is (verb == "fires")
        shown[verb].add(alert)

    assert shown == {"fires": alerts, "is silent": alerts}


@pytest.fixture
def prometheus(tmp_path, stack):
    """One that scrapes this port each second, and reads our rules; answers questions."""

    def start(target):
        port, config = free_port(), tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{RULES}]\n"
            f"scrape_configs: [{{job_name: mailer, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        )
        options = {
            "config.file": config,
            "storage.tsdb.path": tmp_path / "prometheus",
            "web.listen-address": f"127.0.0.1:{port}",
        }
        command = [need("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        process = Process(command, tmp_path / "prometheus.log", cwd=tmp_path)
        stack.callback(process.stop)
        process.wait_for_port(port)

        def ready():  # it listens before it answers
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=PATIENCE).close()
            except urllib.error.HTTPError as error:
                error.close()
                return False
            return True

        wait_until(ready, "prometheus")

        def ask(path, **query):
            url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]

        return ask

    return start


def shown_by_the_dashboard():
    panels = json.loads((PAGES / "dashboard.json").read_text())["panels"]
    return {
        target["expr"]: re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))
        for panel in panels
        for target in panel["targets"]
    }


def series_of_the_rules():
    """What alerts compare, without the comparison: ``mailer_rows{state="unknown"}``."""
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return {found for rule in rules for found in re.findall(r"\bmailer_\w+(?:{[^}]*})?", rule["expr"])}


@pytest.mark.slow
def test_whatever_is_asked_of_prometheus_has_an_answer(tmp_path, world, redis_server, stack, prometheus):
    refuses = '[[rule]]\nmatch = "no*"\nat = "rcpt"\nreply = "550 5.1.1 nobody"\n'
    sink, port = stack.enter_context(mailer_sink(refuses)), free_port()
    write_settings(tmp_path, broker=redis_server.url, backend=sink.url, rate='["20/s"]')
    with (tmp_path / "mailer.toml").open("a") as file:
        file.write(f'[backends.dead]\nurl = "smtp://127.0.0.1:{free_port()}?tls=none"\n')
    stack.enter_context(supervised(tmp_path, "--queues", "bulk", "--metrics", str(port)))
    ask = prometheus(port)

    def answers(expression):
        return ask("query", query=expression)["result"]

    wait_until(lambda: answers("mailer_worker_up"), "scraped")
    fine = world.campaign(60)
    world.campaign(3, address="no{n}@example.com")
    world.campaign(3, backend="dead")
    wait_until(lambda: world.now(fine).state is CampaignState.FINISHED, "finished")
    wanted = shown_by_the_dashboard()
    for expression in [*wanted, *series_of_the_rules()]:
        wait_until(lambda expression=expression: answers(expression), expression)

    for expression, labels in wanted.items():
        for series in answers(expression):
            assert series["metric"].keys() >= set(labels), expression
            assert float(series["value"][1]) >= 0

    def judged():  # Prometheus begins each group at a moment of its own
        (group,) = ask("rules")["groups"]
        return {rule["health"] for rule in group["rules"]}

    wait_until(lambda: judged() == {"ok"}, "every rule was evaluated, and well")
