"""What can go wrong before a session is ready, in plain language and sorted by who must mend it."""

from __future__ import annotations

import socket
import ssl

import aiosmtplib

from mailer.backends.smtp.replies import classify
from mailer.message import Blocked, Phase

#: What OpenSSL makes of a server that greets in plain text.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
#: OpenSSL's codes for a certificate that nobody known has signed: 18-21 of x509_vfy.h.
_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
_TRUST = "; to trust it, give its PEM file as the option ca_file: ?ca_file=FILE"


class Fault(Exception):
    """``Fault(reason, lasting)``; a lasting one needs a person. Becomes BackendUnusable."""

    def __init__(self, reason: str, lasting: bool) -> None:
        super().__init__(reason, lasting)
        self.reason = reason
        self.lasting = lasting


def translate(error: BaseException, phase: Phase, where: str) -> Fault | None:
    """The one seam where foreign errors become ours. None: not a matter of the connection.

    aiosmtplib's errors are OSErrors as well, and hide the first cause: the order is logic.
    """
    while isinstance(error, aiosmtplib.SMTPException) and error.__cause__ is not None:
        error = error.__cause__
    match error:
        case Fault():
            return error
        case aiosmtplib.SMTPResponseException():
            return _refused(error, phase, where)
        case aiosmtplib.SMTPException():
            return Fault(f"{where}: {error.message} ({phase.value})", False)
        case OSError():
            return _failed(error, phase, where)
    return None


def _refused(error: aiosmtplib.SMTPResponseException, phase: Phase, where: str) -> Fault:
    if not 400 <= error.code < 600:
        return Fault(f"{where} answered something that makes no sense ({phase.value})", False)
    verdict = classify(error.code, error.message, phase)
    said = f"{where} answered {error.code} {verdict.reply.text} ({phase.value})"
    return Fault(f"{said}. {verdict.reply.reason}", isinstance(verdict, Blocked))


def _failed(error: OSError, phase: Phase, where: str) -> Fault:
    match error:
        case ssl.SSLCertVerificationError():
            said = f"the certificate of {where} is not valid: {error.verify_message}"
            return Fault(said + _TRUST * (error.verify_code in _UNKNOWN_ISSUER), True)
        case ssl.SSLError() if error.reason in _NOT_TLS:
            return Fault(f"{where} does not begin with TLS: smtp:// instead of smtps://?", True)
        case ssl.SSLError():
            return Fault(f"no TLS with {where}: {error.reason}", True)
        case socket.gaierror():
            return Fault(f"the name in {where} cannot be looked up: {error.strerror}", False)
        case TimeoutError():
            return Fault(f"{where} does not answer in time ({phase.value})", False)
        case ConnectionRefusedError():
            return Fault(f"{where} refuses connections", False)
    return Fault(f"{where}: {error.strerror or 'the connection was lost'} ({phase.value})", False)
