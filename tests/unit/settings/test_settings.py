"""Settings: where they come from, who wins, and what a mistake looks like."""

from __future__ import annotations

import pickle
import re

import pytest

from mailer import errors
from mailer.backends import connect as backend_for
from mailer.backends.file import connect
from mailer.errors import ConfigError, MailerError
from mailer.settings import ENVIRONMENT, Settings
from mailer.wiring import backend_configs


@pytest.fixture
def write(tmp_path):
    def write(text, name="mailer.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_defaults_need_no_file(tmp_path):
    settings = Settings.load(tmp_path)

    assert settings.ledger_url == f"sqlite:///{tmp_path}/mailer.db"
    assert settings.backends == {}


def test_the_file_is_looked_for_upwards_and_paths_are_relative_to_it(write):
    folder = write('ledger = "sqlite:///data/l.db"\ntemplates = "mails"\n')
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    (folder / "mails").mkdir()

    settings = Settings.load(below)

    assert settings.ledger_url == f"sqlite:///{folder}/data/l.db"
    assert settings.template_root == folder / "mails"


def test_option_beats_environment_beats_dotenv_beats_file(write, monkeypatch):
    folder = write("lease_seconds = 1\nrecipients_per_task = 1\nprocesses = 1\n")
    write("MAILER_LEASE_SECONDS=2\nMAILER_RECIPIENTS_PER_TASK=2\nMAILER_PROCESSES=2\n", ".env")
    monkeypatch.setenv("MAILER_RECIPIENTS_PER_TASK", "3")
    monkeypatch.setenv("MAILER_PROCESSES", "3")

    settings = Settings.load(folder, processes=4)

    assert (settings.lease_seconds, settings.recipients_per_task, settings.processes) == (2, 3, 4)


def test_a_variable_in_a_url_is_percent_encoded_and_elsewhere_it_is_not(write, monkeypatch):
    folder = write(
        '[backends.a]\nurl = "smtp://u:${SECRET}@h"\n[backends.b]\nhost = "h"\npassword = "${SECRET}"\n'
    )
    monkeypatch.setenv("SECRET", "p@s/s:w")

    settings = Settings.load(folder)

    assert settings.backends["a"].address() == "smtp://u:p%40s%2Fs%3Aw@h"
    assert settings.backends["b"].secret() == "p@s/s:w"


def test_a_missing_variable_is_named_with_its_key(write):
    folder = write('[backends.a]\nurl = "smtp://u:${NOT_THERE}@h"\n')

    with pytest.raises(ConfigError, match=r"backends\.a\.url needs the environment variable NOT_THERE"):
        Settings.load(folder)


def test_secrets_hide_themselves(write):
    folder = write('broker = "redis://:hunter2@h"\n[backends.a]\nurl = "smtp://u:hunter2@h"\n')

    assert "hunter2" not in repr(Settings.load(folder))


def test_a_password_file_is_read_and_a_missing_one_is_named(write):
    folder = write("sesame\n", "secret")
    write(f'[backends.a]\nhost = "h"\npassword_file = "{folder}/secret"\n')
    write_missing = f"{folder}/nothing"

    assert Settings.load(folder).backends["a"].secret() == "sesame"

    write(f'[backends.a]\nhost = "h"\npassword_file = "{write_missing}"\n')
    with pytest.raises(ConfigError, match="nothing: No such file"):
        Settings.load(folder).backends["a"].secret()


def test_paths_are_relative_to_the_settings_not_to_where_the_command_runs(write):
    folder = write("sesame\n", "secret")
    write(
        '[backends.a]\nhost = "h"\npassword_file = "secret"\n[backends.b]\nurl = "file:outbox?format=eml"\n'
    )
    below = folder / "below"
    below.mkdir()

    settings = Settings.load(below)

    assert settings.backends["a"].secret() == "sesame"
    assert backend_configs(settings)["b"].url == f"file:{folder}/outbox"


def test_a_stream_has_its_backend_unless_one_is_said_for_all(write, monkeypatch):
    folder = write('backend = "news"\ntransactional_backend = "letters"\n')

    def chosen(**overrides: str) -> list[str | None]:
        settings = Settings.load(folder, **overrides)
        return [settings.for_stream(stream).backend for stream in ("bulk", "transactional")]

    assert chosen() == ["news", "letters"]
    assert chosen(backend="file:") == ["file:", "file:"]
    assert chosen(transactional_backend="file:") == ["news", "file:"]
    monkeypatch.setenv("MAILER_BACKEND", "console:")
    assert chosen() == ["console:", "console:"]


def test_every_complaint_at_once_with_its_place(write):
    folder = write('leger = "x"\nprocesses = 0\n[backends.a]\nconections = 3\n[safety]\nredirect = "a@b"\n')

    with pytest.raises(ConfigError) as caught:
        Settings.load(folder)

    text = str(caught.value)
    assert "leger: no such setting; did you mean 'ledger'?" in text
    assert "processes: Input should be greater than or equal to 1" in text
    assert "backends.a.conections: no such setting; did you mean 'connections'?" in text
    assert "safety.redirect: no such setting; did you mean 'redirect_to'?" in text


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('redirect_to = "nobody"', "safety.redirect_to: not an address: "),
        (
            'allow_recipients = ["acme.example"]',
            "for all of a domain write '*@acme.example'",
        ),
    ],
)
def test_guard_rails_that_guard_nothing_are_refused(write, line, complaint):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        Settings.load(write(f"[safety]\n{line}\n"))


def test_mail_is_redirected_to_the_bare_address(write):
    folder = write('[safety]\nredirect_to = "Me <me@acme.example>"\nallow_recipients = ["*"]\n')

    assert Settings.load(folder).safety.redirect_to == "me@acme.example"


def test_a_backend_says_where_it_is_in_one_way(write):
    folder = write('[backends.a]\nurl = "smtp://h"\nhost = "h"\n')

    with pytest.raises(ConfigError, match=r"backends\.a: give either url or host"):
        Settings.load(folder)


def test_broken_toml_names_file_and_line(write):
    folder = write("ledger = \n")

    with pytest.raises(ConfigError, match=r"mailer\.toml: .*line 1"):
        Settings.load(folder)


def test_every_variable_of_the_environment_sets_a_field():
    assert set(ENVIRONMENT) <= set(Settings.model_fields)


def _errors(base=MailerError):
    yield base
    for child in base.__subclasses__():
        yield from _errors(child)


ARGUMENTS = {
    "InputError": ("no", "f.csv", 3, "email", "do this"),
    "BackendUnusable": ("main", "refused", True),
}


@pytest.mark.parametrize("kind", list(_errors()), ids=lambda kind: kind.__name__)
def test_errors_survive_pickling_with_everything_they_say(kind):
    family = next((name for name in ARGUMENTS if issubclass(kind, getattr(errors, name))), None)
    error = kind(*ARGUMENTS.get(family, ("what to do",)))

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), copy.args, vars(copy)) == (kind, str(error), error.args, vars(error))


def test_a_folder_for_mail_has_a_name(write):
    config = backend_configs(Settings.load(write('[backends.a]\nurl = "file:"\n')))["a"]

    with pytest.raises(ConfigError, match="a path is expected"):
        connect(config)


@pytest.mark.parametrize(("key", "root"), [("templates", "template_root"), ("files", "files_root")])
def test_a_folder_that_is_named_must_be_there(write, key, root):
    settings = Settings.load(write(f'{key} = "elsewhere"\n'))

    with pytest.raises(ConfigError, match=rf"^{key} .*there is no folder .*elsewhere; .*mailer\.toml"):
        getattr(settings, root)


LANES = {
    'lanes = { gmial = "1/s" }': r"backends\.a\.lanes\.gmial: no provider .*; did you mean 'gmail'\?",
    'lanes = { foo = "1/s" }': r"no provider group 'foo'; known: gmail, microsoft, yahoo, apple, or a domain",
    'lanes = { "hotmail.com" = "1/s" }': "'hotmail.com' belongs to the group 'microsoft': write 'microsoft'",
    "warmup = { lanes = { yaho = [1] } }": r"warmup\.lanes\.yaho: .*did you mean 'yahoo'\?",
    'domains = { acme = "1/s" }': "'acme' is not a domain; write it like 'example.org'",
    'domains = { "b\u00fccher.example" = "1/s" }': "as 'xn--bcher-kva.example'",
}


@pytest.mark.parametrize(("line", "complaint"), LANES.items())
def test_a_limit_that_no_recipient_could_meet_is_refused(write, line, complaint):
    folder = write(f'[backends.a]\nurl = "smtp://h"\n{line}\n')

    with pytest.raises(ConfigError, match=complaint):
        Settings.load(folder)


def test_lanes_are_groups_and_domains_in_any_case(write):
    folder = write('[backends.a]\nurl = "smtp://h"\nlanes = { Gmail = "1/s", "Example.org" = "2/s" }\n')

    assert list(Settings.load(folder).backends["a"].lanes) == ["Gmail", "Example.org"]


def test_a_provider_and_its_key_in_keys_of_their_own(write, tmp_path):
    (tmp_path / "key").write_text("key-0123456789\n")
    given = {
        "near": {"provider": "resend", "key_file": "key", "directory": tmp_path},
        "far": {"provider": "mailgun", "host": "mg.acme.example", "key_file": "key", "directory": tmp_path}
        | {"options": {"region": "eu"}},
    }
    configs = backend_configs(Settings(directory=tmp_path, backends=given))

    assert {name: (config.url, config.password) for name, config in configs.items()} == {
        "near": ("resend://", "key-0123456789"),
        "far": ("mailgun://mg.acme.example", "key-0123456789"),
    }
    for config in configs.values():
        assert backend_for(config).limits.concurrency >= 10
    with pytest.raises(ConfigError, match=r"backends\.a: give either url or host, or a provider"):
        Settings.load(write('[backends.a]\nprovider = "resend"\nurl = "resend:"\n'))
