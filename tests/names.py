"""A name server on a loopback port, for questions that must not leave the machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

#: Name and type of a record, and its text. As types, SERVFAIL and SILENCE are what a name is answered with.
Zone = Mapping[tuple[str, str], str]


def answer(zone: Zone, query: dns.message.Message) -> dns.message.Message | None:
    question = query.question[0]
    name, kind = question.name.to_text(), question.rdtype.name
    kinds = {known for owner, known in zone if owner == name}
    if "SILENCE" in kinds:
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    if "SERVFAIL" in kinds:
        response.set_rcode(dns.rcode.SERVFAIL)
    elif not kinds:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif (name, kind) in zone:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, zone[name, kind]))
    return response


@contextmanager
def name_server(zone: Zone) -> Iterator[int]:
    """Its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (received := server.recvfrom(4096))[0] != b"stop":
                response = answer(zone, dns.message.from_wire(received[0]))
                if response is not None:
                    server.sendto(response.to_wire(), received[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.sendto(b"stop", server.getsockname())
            thread.join()
