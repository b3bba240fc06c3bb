"""docker-compose.yml and Dockerfile without Docker: the same commands as local processes, and a campaign."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from mailer.cli.app import COMMANDS
from mailer.settings import ENVIRONMENT
from tests.forked import command
from tests.ledgers import postgres_database
from tests.servers import PATIENCE, Process, free_port, wait_until
from tests.working import environment, run

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
WORKERS = ("worker-transactional", "worker-bulk")
OURS = (*WORKERS, "serve", "gateway")


def test_every_part_restarts_and_is_watched():
    assert set(SERVICES) == {"redis", "rabbitmq", "postgres", *OURS, "sink"}
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == set(SERVICES) - {"rabbitmq", "gateway"}
    for service in SERVICES.values():
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"
        assert "ports" not in service  # nothing is published
    redis = SERVICES["redis"]["command"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"
    assert redis[redis.index("--appendonly") + 1] == "yes"


def test_secrets_come_from_files_and_are_in_no_variable():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith("_FILE")
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value))
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])


def test_commands_and_variables_are_ours():
    for name in (*OURS, "sink"):
        command = SERVICES[name]["command"]
        assert command[0] in COMMANDS
    for name in OURS:
        environment = SERVICES[name]["environment"]
        assert {key for key in environment if key.startswith("MAILER_")} <= set(ENVIRONMENT.values())
        # Files that campaigns name lie in what is mounted, whatever their path was where they were opened.
        assert [volume.split(":")[1] for volume in SERVICES[name]["volumes"]] == [environment["MAILER_FILES"]]
        mounted = {f"/run/secrets/{secret}" for secret in SERVICES[name]["secrets"]}
        assert environment["PGPASSFILE"] in mounted
    for volume in (volume for service in SERVICES.values() for volume in service.get("volumes", ())):
        assert volume.startswith("./") or volume.partition(":")[0] in COMPOSE["volumes"]
    settings = tomllib.loads((ROOT / "deploy" / "mailer.toml").read_text())
    named = {Path(settings["gateway"][key]).name for key in ("certificate", "key")}
    assert named <= set(SERVICES["gateway"]["secrets"])


def test_the_image_is_made_of_what_exists_and_is_not_root():
    lines = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines() if line.strip()]
    copied = [word for line in lines if line[0] == "COPY" for word in line[1:-1]]

    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert ["USER", "mailer"] in lines
    assert ["ENTRYPOINT", '["mailer"]'] in lines
    project = (ROOT / "pyproject.toml").read_text()
    assert 'mailer = "mailer.cli:main"' in project
    assert 'all = ["mailer-worker[' in project


def dotenv(profile):
    """What has to stand in .env for this profile, as the first lines of the file say."""
    line = rf"^# --profile {profile}, with (\w+)=(\S+) in \.env"
    return dict(re.findall(line, (ROOT / "docker-compose.yml").read_text(), re.MULTILINE))


class Project:
    """The services as processes in ``folder``; ``places`` says where the names of their network lead to."""

    def __init__(self, folder, variables, places, ports):
        self.folder = folder
        self._variables, self._places, self._ports = variables, places, ports
        shutil.copytree(ROOT / "deploy", folder)
        settings = folder / "mailer.toml"
        settings.write_text(self._here(settings.read_text()))

    def environment(self, name):
        given = SERVICES[name].get("environment", {})
        here = {"MAILER_FILES": str(self.folder), "MAILER_METRICS_HOST": "127.0.0.1"}
        if name in self._ports:
            here["MAILER_METRICS_PORT"] = str(self._ports[name])
        return {key: self._here(str(value)) for key, value in given.items()} | here

    def start(self, name, *more):
        argv = [sys.executable, "-m", "mailer", *SERVICES[name]["command"], *more]
        variables = environment() | self.environment(name)
        log = self.folder.parent / f"{name}.log"
        return Process(argv, log, cwd=self.folder, env=variables, orphaned=signal.SIGTERM)

    def healthy(self, name):
        words = SERVICES[name]["healthcheck"]["test"][2:]
        local = [sys.executable, *(re.sub("9464|8080", str(self._ports[name]), word) for word in words)]
        return subprocess.run(local, check=False, capture_output=True, timeout=PATIENCE).returncode == 0

    def _here(self, value):
        """``${NAME:-default}`` as Compose reads it, and servers where they are here."""
        value = re.sub(r"\$\{(\w+):-(.*?)\}", lambda found: self._variables.get(found[1], found[2]), value)
        for there, here in self._places.items():
            value = value.replace(there, here)
        return value


#: By profile: what carries the hints, and what is started.
PROFILES = {"": ("redis", (*WORKERS, "serve")), "rabbitmq": ("rabbitmq", WORKERS)}


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_commands_send_a_campaign_on_this_machine(
    tmp_path, redis_server, stack, monkeypatch, request, profile
):
    carrier, parts = PROFILES[profile]
    assert SERVICES[carrier].get("profiles", [""]) == [profile]
    ledger, mail = stack.enter_context(postgres_database()), free_port()
    places = {
        "postgresql://mailer@postgres:5432/mailer": ledger,
        "redis:6379": f"127.0.0.1:{redis_server.port}",
        "sink:2525": f"127.0.0.1:{mail}",
    }
    if profile:
        places["rabbitmq:5672"] = f"127.0.0.1:{request.getfixturevalue('rabbit').port}"
    ports = {name: free_port() for name in parts}
    project = Project(tmp_path / "site", dotenv(profile) if profile else {}, places, ports)

    def start(name, *more):
        process = project.start(name, *more)
        stack.callback(process.stop)
        return process

    start("sink", "--port", str(mail), "--host", "127.0.0.1").wait_for_port(mail)
    for name in parts:
        start(name, *(("--port", str(ports[name]), "--host", "127.0.0.1") if name == "serve" else ()))
    for name in parts:
        wait_until(lambda name=name: project.healthy(name), f"{name} healthy")
    said = project.environment("worker-bulk")
    for name in ("MAILER_BROKER_URL", "MAILER_LEDGER_URL"):
        monkeypatch.setenv(name, said[name])
    finished = enqueue(project.folder)

    assert said["MAILER_BROKER_URL"].startswith("amqp://" if profile else "redis://127.0.0.1:")
    assert finished["state"] == "finished"
    assert finished["counts"]["accepted"] == 3


def enqueue(site):
    (site / "people.csv").write_text("email\n" + "".join(f"person{n}@example.com\n" for n in range(3)))
    (site / "templates" / "letter").mkdir(parents=True)
    (site / "templates" / "letter" / "body.txt").write_text("Hello {{ email }}\n")
    (site / "campaign.toml").write_text(
        'name = "Compose"\nfrom = "news@acme.example"\nsubject = "Hello"\ntemplate = "letter"\n'
        'recipients = "people.csv"\n'
    )
    done = run(site, command, "enqueue", "campaign.toml", "--yes", "--json", "--watch")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
