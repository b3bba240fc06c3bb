"""What a rule file may say, and what is said about a wrong one."""

import tomllib
from pathlib import Path

import pytest

from mailer.errors import ConfigError
from mailer.sink.config import PHASES, Rule, SinkConfig, duration, load, parse
from mailer.sink.rules import Rulebook


def test_everything_can_be_said():
    config = parse(
        tomllib.loads("""
            [sink]
            host = "127.0.0.2"
            port = 0
            store = "mail"
            latency = "20ms"
            without = ["PIPELINING"]
            auth = true
            user = "me"
            password = "secret"

            [[rule]]
            at = "rcpt"
            match = "*@grey.example"
            share = 0.5
            times = 1
            reply = "451 4.7.1 greylisted"
            delay = "1.5s"

            [[rule]]
            drop = "after-dot"
            sender = "*@acme.example"
        """)
    )

    assert config.store == Path("mail")
    assert config.latency == 0.02
    assert "PIPELINING" not in config.extensions
    assert config.rules == (
        Rule("rcpt", "*@grey.example", "*", 0.5, "451 4.7.1 greylisted", 1.5, None, 1, 1),
        Rule("dot", sender="*@acme.example", drop="after-dot", number=2),
    )
    assert "secret" not in repr(config)


def test_nothing_need_be_said():
    assert parse({}) == SinkConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[sink]\nprot = 1", "sink.toml: sink: unknown key 'prot', did you mean 'port'?"),
        ("[sink]\nport = 70000", "sink.toml: sink.port: expected a whole number from 0 to 65535, not 70000"),
        ("[sink]\nport = true", "sink.toml: sink.port: expected a whole number from 0 to 65535, not True"),
        ("[sink]\nlatency = 5", 'sink.toml: sink.latency: expected a time such as "200ms"'),
        ("[sink]\nuser = 'me'", "sink.toml: sink.user and sink.password belong together"),
        ("[sink]\ntls = true\nstarttls = true", "sink.starttls and sink.tls exclude each other"),
        ("[sink]\nkey = 'k.pem'", "sink.certificate and sink.key belong together"),
        ("[sink]\nwithout = ['8BIT']", "sink.without: expected a list of: PIPELINING, 8BITMIME"),
        ("sink = 1", "sink.toml: sink must be a table"),
        ("[rule]\nat = 'rcpt'", "sink.toml: rule must be a list of tables, [[rule]]"),
        ("[[rules]]", "sink.toml: unknown key 'rules', did you mean 'rule'?"),
        ("[[rule]]\nreply = '450 no'", "sink.toml: rule 1: at is missing, one of: connect, ehlo"),
        ("[[rule]]\nat = 'rcpt'", "sink.toml: rule 1: does nothing; give reply, delay or drop"),
        ("[[rule]]\nat = 'dot'\nreply = 'no'", "rule 1.reply: expected a reply such as"),
        ("[[rule]]\nat = 'dot'\nreply = \"451 x\\n250 y\"", "rule 1.reply: expected a reply such as"),
        ("[[rule]]\nat = 'data'\nreply = '250 ok'", "rule 1: reply cannot be a 2xx at 'data'"),
        ("[[rule]]\nat = 'lunch'\nreply = '450 no'", "rule 1.at: expected one of: connect"),
        ("[[rule]]\nat = 'rcpt'\ndrop = 'after-dot'", "rule 1: drop = 'after-dot' does not happen at 'rcpt'"),
        ("[[rule]]\nat = 'mail'\nmatch = '*@x'\nreply = '450 no'", "match needs a recipient"),
        (
            "[[rule]]\nat = 'rcpt'\nshare = 1.5\nreply = '450 no'",
            "rule 1.share: expected a number from 0 to 1",
        ),
        (
            "[[rule]]\nat = 'rcpt'\ntimes = 0\nreply = '450 no'",
            "rule 1.times: expected a whole number from 1",
        ),
        ("[sink", "sink.toml: "),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, monkeypatch, text, complaint):
    monkeypatch.chdir(tmp_path)
    Path("sink.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Path("sink.toml"))
    assert complaint in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("2m", 120.0), ("0 s", 0.0)])
def test_times(text, seconds):
    assert duration(text) == seconds


def find(book: Rulebook, recipient: str, phase: str = "rcpt") -> Rule | None:
    return book.find(phase, "news@acme.example", recipient, "")


def test_the_first_rule_that_matches_wins():
    first, second = Rule("rcpt", "a*@x.example", reply="450 1"), Rule("rcpt", "*@X.example", reply="450 2")
    book = Rulebook([first, second])
    assert find(book, "ada@x.example") is first
    assert find(book, "BOB@x.example") is second
    assert find(book, "bob@y.example") is None
    assert find(book, "ada@x.example", "dot") is None


def test_a_share_is_the_same_in_every_run():
    addresses = [f"r{number}@example.org" for number in range(5000)]

    def hit(seed: str) -> set[str]:
        book = Rulebook([Rule("rcpt", share=0.1, reply="450 x", number=1)], seed)
        return {address for address in addresses if find(book, address)}

    assert hit("a") == hit("a")
    assert hit("a") != hit("b")
    assert 400 < len(hit("a")) < 600


def test_shares_of_two_rules_are_independent():
    rules = [
        Rule("rcpt", share=0.5, reply="450 x", number=1),
        Rule("rcpt", share=0.5, reply="550 x", number=2),
    ]
    book = Rulebook(rules)
    found = [find(book, f"r{number}@example.org") for number in range(4000)]
    assert 850 < found.count(rules[1]) < 1150
    assert 850 < found.count(None) < 1150


def test_times_count_per_recipient():
    book = Rulebook([Rule("rcpt", times=2, reply="451 later", number=1)])
    tries = [find(book, address) is not None for address in ("a@x", "b@x", "a@x", "A@x", "b@x", "b@x")]
    assert tries == [True, True, True, False, True, False]


def test_without_a_recipient_times_count_them_all():
    book = Rulebook([Rule("connect", times=2, reply="421 busy", number=1)])
    assert [book.find("connect", "", None, key) is not None for key in "1234"] == [True, True, False, False]


def test_every_phase_has_a_shelf():
    assert all(find(Rulebook([Rule(phase, delay=1)]), "a@x", phase) for phase in PHASES)
