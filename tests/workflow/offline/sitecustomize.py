"""Audit hook, imported by Python at its start: logs every attempt to reach another machine.

The file $NETWORK_ATTEMPTS gets a line for each: event, address and program. Sockets of
this machine (loopback, files) do not count.
"""

import os
import sys
from pathlib import Path

EVENTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}


def _host(event: str, arguments: tuple) -> str | None:
    """Name or address of the other machine; None for this machine."""
    address = arguments[1] if event in {"socket.connect", "socket.sendto"} else arguments[0]
    host = address[0] if isinstance(address, tuple) else address
    host = host.decode() if isinstance(host, bytes) else host
    local = host is None or host in {"", "localhost", "::1", "0.0.0.0", os.uname().nodename}
    return None if local or host.startswith(("127.", "/", "\0")) else host


def _log_attempt(event: str, arguments: tuple) -> None:
    if event in EVENTS and (host := _host(event, arguments)):
        program = " ".join(" ".join(sys.orig_argv).split())[-300:]
        with Path(os.environ["NETWORK_ATTEMPTS"]).open("a") as stream:
            stream.write(f"{event}\t{host}\t{program}\n")


sys.addaudithook(_log_attempt)
