"""What schemathesis makes of the OpenAPI document: no answer is a failure, and each is as documented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.faults.judging import WHOLE
from tests.servers import PATIENCE
from tests.serving import serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Of each kind, for each operation.
EXAMPLES = 8 if WHOLE else 5
#: A failing example is told as it is: making it smaller takes minutes.
PHASES = [Phase.explicit, Phase.generate]
TEMPLATE = 'from = "a@acme.example"\nsubject = "{{ x }}"\n[sample]\nx = "Hello"\n'


@pytest.fixture
def server(tmp_path):
    (tmp_path / "templates/receipt").mkdir(parents=True)
    (tmp_path / "templates/receipt/mail.toml").write_text(TEMPLATE)
    (tmp_path / "templates/receipt/body.txt").write_text("{{ x }}\n")
    away = "redis://127.0.0.1:1/0"  # campaigns are opened only with a broker; nothing is published
    (tmp_path / "mailer.toml").write_text(f'broker = "{away}"\n[backends.main]\nurl = "memory:"\n')
    with serving(tmp_path) as served:
        yield served


def test_every_operation_answers_as_the_document_says(server):
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [one.ok() for one in document.get_all_operations()]
    assert len(operations) >= 12

    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            ask(operation, mode, server)


def ask(operation, mode, server) -> None:
    """``NEGATIVE``: requests that the document does not allow."""

    @settings(max_examples=EXAMPLES, phases=PHASES, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case):
        case.call_and_validate(headers=server.headers(), checks=CHECKS, timeout=PATIENCE)

    answered()
