"""A worker's connection to Redis breaks while a hint is taken and not acknowledged."""

import logging
from contextlib import suppress

import pytest
from celery import Celery
from redis import Redis

from mailer.publisher import PREFIX, configuration
from tasks.connection import Near


def asks(redis_server):
    """Whether somebody waits for the next hint."""
    with Redis(port=redis_server.port) as redis:
        return any("b" in client["flags"] for client in redis.client_list())


@pytest.fixture
def broken(redis_server):
    """A connection as a worker has it: one hint taken, asked for the next, and then Redis is gone."""
    app = Celery("test", set_as_current=False)
    app.conf.update(configuration(redis_server.url))
    app.amqp.Connection = Near
    connection = app.connection_for_read()
    queue = app.amqp.queues["bulk"]
    taken = []
    with app.connection_for_write() as other, other.Producer() as producer:
        producer.publish({}, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue])
    consumer = connection.Consumer([queue], callbacks=[lambda _, message: taken.append(message)])
    consumer.consume()
    app.control.mailbox.Node("w1", channel=connection.channel()).listen()
    while not taken:
        connection.drain_events(timeout=60)
    while not asks(redis_server):
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
    redis_server.process.kill()
    yield connection, taken[0]
    redis_server.restart()
    consumer.channel.close()
    app.close()


def acknowledge(connection, hint):
    hint.ack_log_error(logging.getLogger(__name__), connection.connection_errors)


def unacknowledged(redis_server):
    with Redis(port=redis_server.port) as redis:
        return redis.hlen(f"{PREFIX}unacked")


def test_what_celery_does_with_a_broken_connection_raises_nothing_that_ends_a_worker(broken, caplog):
    connection, hint = broken
    connection.collect(socket_timeout=1)
    connection.close()
    acknowledge(connection, hint)

    assert "Couldn't ack" in caplog.text


def test_a_late_acknowledgement_reaches_redis_when_it_is_back(broken, redis_server):
    connection, hint = broken
    connection.collect(socket_timeout=1)
    connection.close()
    redis_server.restart()
    with Redis(port=redis_server.port) as redis:
        redis.hset(f"{PREFIX}unacked", hint.delivery_tag, "what another server would still know")
    acknowledge(connection, hint)

    assert unacknowledged(redis_server) == 0
