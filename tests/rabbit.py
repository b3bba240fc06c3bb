"""A rabbitmq-server of a test's own: its own folder, node name, ports and port mapper."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kombu import Connection

from mailer.publisher import QUEUES
from tests.servers import Process, free_port, need, wait_until

#: Where Debian keeps the program itself; the one in PATH starts it as another user, in its own folder.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@dataclass
class RabbitServer:
    """Takes seconds to start: share one between the tests of a module."""

    port: int
    folder: Path
    mapper_port: int
    process: Process = field(init=False)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> Self:
        plugins = self.folder / "plugins"
        plugins.write_text("[].")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.mapper_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            # Then the script becomes the server, and its process id is the server's.
            "RUNNING_UNDER_SYSTEMD": "1",
        }
        self.process = Process([self._program()], self.folder / "log", env=environment)
        wait_until(self._up, "rabbitmq-server")
        return self

    def _up(self) -> bool:
        if not self.process.running:
            raise RuntimeError(f"rabbitmq-server ended: {self.process.log.read_text(errors='replace')}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
                client.sendall(b"AMQP\0\0\x09\x01")
                return bool(client.recv(1))  # its port is open before it can do anything
        except OSError:
            return False

    def restart(self) -> None:
        self.process.kill()
        self.start()

    def clean(self) -> None:
        """Forget all hints. It is up then, and does what it is told."""
        wait_until(self._cleaned, "rabbitmq-server without hints")

    def _cleaned(self) -> bool:
        with Connection(self.url, connect_timeout=10) as connection:
            try:
                for queue in QUEUES:
                    connection.default_channel.queue_delete(queue)
            except connection.recoverable_connection_errors:
                return False
        return True

    @staticmethod
    def _program() -> str:
        found = need("rabbitmq-server")
        return str(PROGRAM) if PROGRAM.exists() else found


@contextmanager
def rabbit_server() -> Iterator[RabbitServer]:
    """A rabbitmq-server and its port mapper, on free ports."""
    need("rabbitmq-server")
    with tempfile.TemporaryDirectory() as folder:
        mapper_port = free_port()
        mapper = Process(
            [need("epmd"), "-port", str(mapper_port), "-address", "127.0.0.1"], Path(folder, "mapper.log")
        )
        server = RabbitServer(free_port(), Path(folder), mapper_port)
        try:
            mapper.wait_for_port(mapper_port)
            yield server.start()
        finally:
            if hasattr(server, "process"):
                server.process.stop()
            mapper.stop()
