"""Where a console listens, and how another process finds that out; imports nothing heavy, so `govern status` stays quick."""

from __future__ import annotations

import errno
import ipaddress
import socket
from pathlib import Path

from agents.errors import Misconfigured
from orchestration.settings import Settings


def listening_file(settings: Settings) -> Path:
    """Where a console that listens says so: {pid, created, url}."""
    return settings.data_dir.absolute() / "console" / "listening.json"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises Misconfigured where it cannot."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(256)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise Misconfigured(
                f"port {port} on {host} is taken: another console, or another program; choose another with --port or "
                "GOVERN_CONSOLE_PORT"
            ) from error
        raise Misconfigured(f"cannot listen on {host}:{port} ({error.strerror}); see --host and --port") from error
    found.setblocking(False)
    return found


def free(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    try:
        listen(host, port).close()
    except Misconfigured:
        return False
    return True


def loopback(host: str) -> bool:
    """Whether an address is reached from its own machine alone.

    >>> loopback("127.0.0.1"), loopback("::1"), loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
