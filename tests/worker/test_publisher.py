"""The publisher against a real Redis: what is on the wire, and what a broker that fails costs."""

import base64
import json
import subprocess
import sys
import time

import pytest
from redis import Redis

from mailer.errors import BrokerUnavailable, ConfigError
from mailer.publisher import PREFIX, Publisher, ping, safe_url, worker_argv
from tests import servers
from tests.servers import free_port, wait_until


@pytest.fixture
def publisher(redis_server):
    publisher = Publisher(redis_server.url)
    yield publisher
    publisher.close()


@pytest.fixture
def redis(redis_server):
    with Redis(port=redis_server.port) as client:
        yield client


def test_a_hint_is_ids_and_nothing_else(publisher, redis):
    publisher.publish([1 << 32 | 1, 1 << 32 | 2], "transactional")

    message = json.loads(redis.lindex(f"{PREFIX}transactional", 0))
    assert message["headers"]["task"] == "mailer.deliver"
    assert message["headers"]["argsrepr"] == ""
    assert message["content-type"] == "application/json"
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert args == [[4294967297, 4294967298]]
    assert kwargs == {}


def test_hints_that_nobody_has_fetched_are_counted(publisher, redis):
    """The watch over workers that have gone deaf goes by this."""
    assert publisher.waiting(["bulk", "transactional"]) == 0
    for _ in range(2):
        publisher.publish([1])
    publisher.publish([1], "transactional")

    assert publisher.waiting(["bulk"]) == 2
    assert publisher.waiting(["bulk", "transactional"]) == 3
    redis.flushall()
    assert publisher.waiting(["bulk"]) == 0
    assert redis.keys() == []


def test_everything_in_redis_is_under_our_prefix(publisher, redis):
    publisher.publish([1])

    assert all(key.startswith(PREFIX.encode()) for key in redis.scan_iter())


def test_a_broker_is_asked_by_a_message_there_and_back_and_nothing_stays_behind(redis_server, redis):
    assert ping(redis_server.url) > 0
    assert redis.keys() == []


def test_a_broker_that_takes_no_message_is_no_broker(redis_server, redis):
    """A login alone would say that all is well."""
    redis.config_set("maxmemory", "1")
    with pytest.raises(BrokerUnavailable, match="maxmemory"):
        ping(redis_server.url)


@pytest.mark.parametrize("call", [ping, lambda url: Publisher(url).publish([1])])
def test_a_broker_that_is_down_is_named_without_its_password(hasty_publishers, call):
    with pytest.raises(BrokerUnavailable) as caught:
        call(f"redis://someone:s3cret@127.0.0.1:{free_port()}/0")

    assert "redis://127.0.0.1:" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_wrong_password_is_said_to_be_wrong_and_not_repeated(redis_server):
    with pytest.raises(BrokerUnavailable) as caught:
        ping(redis_server.url.replace("//", "//someone:s3cret@"))

    assert "username-password" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_broker_that_hangs_costs_seconds_not_forever(redis_server, hasty_publishers, publisher):
    wait_until(lambda: taken(publisher), "a connection")
    redis_server.process.pause()
    try:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.publish([2])
        assert time.monotonic() - started < 60
    finally:
        redis_server.process.go_on()


def taken(publisher):
    try:
        publisher.publish([1])
    except BrokerUnavailable:
        return False
    return True


def test_after_a_restart_the_next_hints_arrive(redis_server, publisher, redis):
    publisher.publish([1])
    redis_server.restart()
    for _ in range(2):  # the first may meet the connection that died
        try:
            publisher.publish([2])
        except BrokerUnavailable:
            continue

    assert redis.llen(f"{PREFIX}bulk") >= 1


@pytest.mark.parametrize(
    "url", ["reddis://u:s3cret@127.0.0.1/0", "nonsense", "redis://u:s3cret@127.0.0.1:x/0", ""]
)
def test_a_url_of_no_broker_is_a_wrong_setting(url):
    with pytest.raises(ConfigError, match="redis://HOST:6379/0") as caught:
        Publisher(url)

    assert "s3cret" not in str(caught.value)


def test_the_url_that_is_shown_has_no_login():
    assert safe_url("redis://u:p@h:6379/3?x=p") == "redis://h:6379/3"


def test_our_app_does_not_become_the_current_one_of_the_host_application():
    code = (
        "import celery\n"
        "theirs = celery.Celery('theirs')\n"
        "from mailer.publisher import Publisher\n"
        "Publisher('redis://127.0.0.1:1/0').close()\n"
        "assert celery.current_app._get_current_object() is theirs\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=servers.PATIENCE)


def test_importing_the_publisher_does_not_import_celery():
    code = "import sys, mailer.publisher; assert not {'celery', 'kombu', 'redis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=servers.PATIENCE)


def test_a_worker_is_started_by_plain_celery():
    argv = worker_argv(["bulk"], name="bulk1", concurrency=2)

    assert argv[1:7] == ["-m", "celery", "--quiet", "--app", "tasks.app", "worker"]
    assert argv[argv.index("--queues") + 1] == "bulk"
    assert argv[argv.index("--hostname") + 1] == "bulk1@%h"
    assert argv[argv.index("--concurrency") + 1] == "2"
