"""Where messages may be sent: to public addresses only, unless a channel says otherwise, and to no other than was checked.

An operator types URLs, and a proposed configuration may come from somebody else: without this the process that sends could be
made to post to what only it can reach (cloud metadata, brokers, the console). The address that a name resolves to is checked
and then connected to as it is, so that a name which resolves differently the next moment (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from orchestration.notify.faults import NotSent, Undeliverable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the addresses that it has now, as text."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PRIVATE_MEND = "set `allow_private: true` on the channel if that is meant"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was looked at; `host` without brackets."""

    scheme: str
    host: str
    port: int
    url: str


def target_of(url: str, ports: dict[str, int], *, insecure: Iterable[str] = (), allow_private: bool = False) -> Target:
    """Take a URL apart; `ports` has the schemes with their default ports, `insecure` those that need `allow_private`.

    Raises Undeliverable with the mend. Neither path nor query is ever part of a message: there webhooks keep their secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Undeliverable("the channel's URL cannot be read: its host or port is no host or port") from None
    schemes = " or ".join(f"{one}://" for one in ports)
    if any(sign.isspace() or not sign.isprintable() for sign in url) or parts.scheme not in ports or not parts.hostname:
        raise Undeliverable(f"the channel's URL must start with {schemes} and name a host")
    if parts.scheme in insecure and not allow_private:
        safe = " or ".join(f"{one}://" for one in ports if one not in insecure)
        raise Undeliverable(f"the channel's URL is not encrypted: use {safe}, or {_PRIVATE_MEND}")
    _no_more_than_a_place(parts)
    host = parts.hostname.rstrip(".")
    if not host or "%" in host:
        raise Undeliverable("the channel's URL names no host that can be reached")
    return Target(parts.scheme, host, port or ports[parts.scheme], url)


def _no_more_than_a_place(parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        raise Undeliverable("the channel's URL holds credentials: take them out and name them with `secret`")
    if parts.fragment or "\\" in parts.netloc:
        raise Undeliverable("the channel's URL has a fragment or a backslash: give the plain address")


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach it; what is wrapped in an IPv6 address counts as the IPv4 one.

    >>> [is_public(ipaddress.ip_address(one)) for one in ("1.1.1.1", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )


def trusted() -> ssl.SSLContext:
    """What certificates are verified with: the system's authorities, or those of SSL_CERT_FILE. Read anew once an hour."""
    return _authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), int(time.monotonic() // 3600))


@lru_cache(maxsize=1)
def _authorities(file: str | None, folder: str | None, hour: int) -> ssl.SSLContext:
    """OpenSSL takes tens of milliseconds to read them, which every channel would wait for."""
    return ssl.create_default_context()


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver; it also reads numbers such as 2130706433 or 0177.1 as the addresses that they are."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked(host: str, port: int, *, allow_private: bool, look_up: Resolve = resolve) -> Sequence[str]:
    """Addresses of the host that may be connected to: all of them, or none.

    Raises NotSent where the name cannot be resolved now, Undeliverable where any address is not public: a name with both
    kinds of addresses is an attack or a mistake.
    """
    try:
        found = await look_up(host, port)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"the name {host} cannot be resolved") from error
    if not found:
        raise NotSent(f"the name {host} has no address")
    for text in found:
        if not allow_private and not is_public(ipaddress.ip_address(text.partition("%")[0])):
            raise Undeliverable(f"{host} is not a public address ({text}): {_PRIVATE_MEND}")
    return found


async def connect(
    host: str, port: int, timeout_s: float, *, allow_private: bool, look_up: Resolve = resolve
) -> socket.socket:
    """A socket connected to a checked address of the host, the first that answers.

    Raises as `checked`, and NotSent where no address answers.
    """
    loop, error = asyncio.get_running_loop(), None
    for address in await checked(host, port, allow_private=allow_private, look_up=look_up):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(made, (address, port)), timeout_s)
            return made
        except (OSError, TimeoutError) as failed:
            made.close()
            error = failed
        except BaseException:
            made.close()
            raise
    why = "does not answer" if isinstance(error, TimeoutError) else "refuses the connection or cannot be reached"
    raise NotSent(f"{host}:{port} {why}") from error


class Guarded(AsyncNetworkBackend):
    """How httpcore connects: to checked addresses only. TLS still verifies the certificate against the URL's host."""

    def __init__(self, *, allow_private: bool, look_up: Resolve = resolve) -> None:
        self.allow_private, self.look_up = allow_private, look_up
        self._inner: AsyncNetworkBackend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """The first checked address that answers."""
        error: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in await checked(host, port, allow_private=self.allow_private, look_up=self.look_up):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        assert error is not None
        raise error
