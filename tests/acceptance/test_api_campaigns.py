"""``mailer serve``: campaigns and templates over HTTP."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import serving

SPEC = {
    "name": "November news",
    "template": "letter",
    "from": "Acme News <news@acme.example>",
    "subject": "{{ first_name }}, your November",
}
PEOPLE = "email,First Name\n" + "".join(f"person{n}@example.com,Person {n}\n" for n in range(5))
MAIL = 'from = "a@acme.example"\nsubject = "Hello {{ first_name }}"\n[sample]\nfirst_name = "Ada"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its broker is not there: campaigns wait in the ledger."""
    folder = tmp_path_factory.mktemp("campaigns")
    prepare(folder, "max_upload = 100_000")
    with serving(folder) as served:
        yield served


def prepare(folder, api=""):
    (folder / "templates/letter").mkdir(parents=True)
    (folder / "templates/_layouts").mkdir()
    (folder / "templates/_layouts/body.html").write_text("<p></p>")
    (folder / "templates/letter/mail.toml").write_text(MAIL)
    (folder / "templates/letter/body.txt").write_text("Dear {{ first_name }},\nhello.\n")
    (folder / "templates/letter/body.html").write_text("<p>Dear {{ first_name }}</p>\n")
    (folder / "mailer.toml").write_text(
        'broker = "redis://127.0.0.1:1/0"\n[backends.main]\nurl = "file:out"\n[api]\n' + api
    )


def opened(server, spec=None, people=PEOPLE, **more):
    return server.post(
        "/v1/campaigns",
        data={"spec": json.dumps(spec or SPEC)},
        files={"recipients": ("people.csv", people)},
        **more,
    )


def test_a_list_and_a_spec_become_a_campaign_once(server):
    people = PEOPLE + "not an address,Nobody\n=1+1@example.com,=cmd()\n"

    answer = opened(server, people=people)
    again = opened(server, people=people)

    status = answer.json()
    assert answer.status_code == 201, status
    assert (status["state"], status["total"], status["counts"]["pending"]) == ("running", 6, 6)
    assert [(one["line"], one["column"]) for one in status["invalid"]] == [(7, "email")]
    assert again.json()["id"] == status["id"]
    path = f"/v1/campaigns/{status['id']}"
    assert server.get(path).json()["counts"] == status["counts"]
    assert status["id"] in [one["id"] for one in server.get("/v1/campaigns").json()["campaigns"]]
    answer = server.get(f"{path}/results")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert [row["email"] for row in rows[:2]] == ["person0@example.com", "person1@example.com"]
    assert (rows[-1]["First Name"], rows[-1]["mail_state"]) == ("'=cmd()", "pending")


def test_a_campaign_is_paused_resumed_and_cancelled(server):
    path = f"/v1/campaigns/{opened(server, SPEC | {'name': 'control'}).json()['id']}"

    states = [server.post(f"{path}/{change}").json()["state"] for change in ("pause", "resume", "cancel")]

    assert states == ["paused", "running", "cancelled"]
    assert server.post(f"{path}/resume").status_code == 409
    assert opened(server, SPEC | {"name": "control"}).status_code == 409
    assert opened(server, SPEC | {"name": "control"}, params={"again": "true"}).status_code == 201


@pytest.mark.parametrize(
    ("spec", "people", "status", "field"),
    [
        ({"attachments": ["mailer.db"]}, PEOPLE, 422, "spec.attachments"),
        ({"recipients": "/etc/passwd"}, PEOPLE, 422, "spec.recipients"),
        ({"exclude": ["/etc/passwd"]}, PEOPLE, 422, "spec.exclude"),
        ({"backend": "smtp://evil.example"}, PEOPLE, 422, "backend"),
        ({"template": "none"}, PEOPLE, 422, "template"),
        ({"template": "../.."}, PEOPLE, 422, "template"),
        ({"subject": "{{ nobody }}"}, PEOPLE, 422, None),
        ({"rate": "fast"}, PEOPLE, 422, "spec.rate"),
        ({"colour": 1, "name": 5}, PEOPLE, 422, "spec.colour"),
        ({"columns": {"email": 5}}, PEOPLE, 422, "spec.columns.email"),
        ({}, "email,First Name\nnobody,x\n", 422, "recipients line 2"),
        ({}, "no header at all", 422, "recipients"),
        ({}, "x" * 200_000, 413, None),
    ],
)
def test_what_is_wrong_opens_nothing(server, spec, people, status, field):
    before = server.get("/v1/campaigns").json()

    answer = opened(server, SPEC | {"name": "wrong"} | spec, people)

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    if field:
        assert field in [one["field"] for one in problem["errors"]]
    assert str(server.folder) not in answer.text
    assert server.get("/v1/campaigns").json() == before


def test_what_is_no_campaign_at_all(server):
    reader = server.new_key(scopes=("send", "read"))

    assert opened(server, key=reader).status_code == 403
    assert server.post("/v1/campaigns", {}).status_code == 415
    assert server.post("/v1/campaigns", files={"other": ("a.csv", "x")}).status_code == 422
    spec = {"spec": "{"}
    assert server.post("/v1/campaigns", data=spec, files={"recipients": ("a", "x")}).status_code == 400
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert server.post("/v1/campaigns", headers=broken, content=b"--y").status_code in (400, 422)
    for path in ("none", "none/results", "%00", "NOVEMBER"):
        assert server.get(f"/v1/campaigns/{path}").status_code == 404
    assert server.post("/v1/campaigns/none/pause").status_code == 404
    assert server.post("/v1/campaigns/none/explode").status_code == 404


def test_templates_are_listed_and_shown_with_their_sample_data(server):
    assert server.get("/v1/templates").json() == {"templates": ["letter"]}
    shown = server.get("/v1/templates/letter/preview").json()
    assert shown["subject"] == "Hello Ada"
    assert "<p>Dear Ada</p>" in shown["html"]
    assert shown["text"].startswith("Dear Ada")
    assert server.get("/v1/templates/none/preview").status_code == 404
    assert server.get("/v1/templates/..%2F..%2Fetc/preview").status_code == 404


def test_without_a_broker_there_are_no_campaigns(tmp_path):
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
    with serving(tmp_path) as served:
        answer = opened(served)

    assert answer.status_code == 409
    assert "broker" in answer.json()["detail"]


@contextmanager
def no_file_larger_than(size, server):
    """For the server, which may do everything else: what it writes beyond that fails as on a full disk."""
    pid = server.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the limits of a running process")
def test_a_full_disk_refuses_a_list_and_keeps_nothing_of_it(tmp_path):
    prepare(tmp_path)
    folder, spec = os.environ["TMPDIR"], SPEC | {"unique": False}
    large = PEOPLE + "".join(f"row{n}@example.com,{'x' * 1000}\n" for n in range(1500))
    rows = "email,First Name\n" + "".join(f"row{n}@example.com,Row {n}\n" for n in range(3000))

    with serving(tmp_path) as server:
        wal = server.folder / "mailer.db-wal"
        before = os.listdir(folder)
        refused = []
        with no_file_larger_than(1_200_000, server):  # while it is received, and while it is looked for twice
            refused += [opened(server, people=large), opened(server)]
            serves = server.get("/healthz").status_code
        none = server.get("/v1/campaigns").json()["campaigns"]
        with no_file_larger_than(wal.stat().st_size + 350_000, server):  # while its rows are stored
            half = opened(server, spec, rows)
        left = os.listdir(folder)
        whole = opened(server, spec, rows)

    assert [answer.status_code for answer in (*refused, half)] == [503, 503, 503]
    assert all("no room" in answer.json()["detail"] for answer in refused)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in (*refused, half))
    assert (none, left, serves) == ([], before, 200)
    assert "goes on where this ended" in half.json()["detail"]
    assert (whole.status_code, whole.json()["total"]) == (201, 3000)
    assert "TMPDIR" in server.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of another process")
def test_a_list_is_never_in_memory(tmp_path):
    """Twenty-four megabytes more of it; what is measured ends before anybody reads the list."""
    prepare(tmp_path)
    peaks, said = [], []

    with serving(tmp_path) as server:
        for megabytes in (3, 27):
            people = {"recipients": ("people.csv", b"x" * (megabytes << 20))}
            said.append(server.post("/v1/campaigns", data={"spec": "{"}, files=people).json()["detail"])
            about = Path("/proc", str(server.pid), "status").read_text()
            peaks.append(int(about.partition("VmHWM:")[2].split()[0]))

    assert said == ["`spec` is not JSON"] * 2
    assert peaks[1] - peaks[0] < 12_000, peaks
