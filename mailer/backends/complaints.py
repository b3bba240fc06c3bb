"""What a backend cannot do for a campaign, said before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes
from email.utils import getaddresses

from mailer.backends import connect
from mailer.backends.contract import BackendConfig
from mailer.message import Outgoing


def complaints(
    config: BackendConfig, data: bytes, *, return_path: str | None = None, hidden: Sequence[str] = ()
) -> list[str]:
    """What this message needs and this backend cannot express; empty for one that takes any message.

    ``return_path`` is the envelope sender, None when it is From; ``hidden`` are Bcc recipients. Nothing is
    contacted. Raises ConfigError.
    """
    ask = getattr(connect(config), "complaints", None)
    if ask is None:
        return []
    parsed = message_from_bytes(data)
    named = [str(value) for name in ("To", "Cc") for value in parsed.get_all(name, [])]
    people = [addr for _, addr in getaddresses(named)]
    senders = [addr for _, addr in getaddresses([str(parsed.get("From", ""))])]
    sender = return_path if return_path is not None else senders[0]
    everybody = (*people, *hidden)
    message = Outgoing(
        id=0,
        fence=0,
        sender=sender,
        recipients=everybody,
        content=data,
        message_id=str(parsed.get("Message-ID", "")),
        smtputf8=not "".join((*senders, *everybody)).isascii(),
    )
    return [f"backend {config.name!r}: {one}" for one in ask(message)]
