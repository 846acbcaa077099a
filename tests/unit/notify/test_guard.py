"""No URL makes the process that sends reach what only it can reach: by form, by name, by rebinding or by redirect."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import httpcore
import pytest

from orchestration.notify.faults import NotSent, Undeliverable
from orchestration.notify.guard import Guarded, checked, connect, is_public, resolve, target_of
from orchestration.notify.posting import Post, post
from tests.receivers import Says, http_receiver

HTTPS = {"https": 443, "http": 80}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:1::1",
    ],
)
def test_an_address_that_is_not_public_is_refused_however_it_is_wrapped(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_taken(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://hooks.example.org/x", "not encrypted"),
        ("ftp://hooks.example.org/x", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("gopher://x:70/_", "must start with https://"),
        ("https:///x", "name a host"),
        ("https://user:pw@hooks.example.org/x", "holds credentials"),
        ("https://hooks.example.org@169.254.169.254/x", "holds credentials"),
        ("https://hooks.example.org/x#@evil.example", "fragment"),
        ("https://hooks.example.org\\@127.0.0.1/", "credentials|backslash"),
        ("https://hooks.example.org:99999/", "no host or port"),
        ("https://[::1/", "no host or port"),
        ("https://hooks.example.org/\r\nHost: x", "must start"),
        ("https://[fe80::1%25eth0]/", "no host that can be reached|cannot be read"),
    ],
)
def test_a_url_that_is_not_plain_is_refused_with_the_mend_and_without_its_path(url: str, told: str) -> None:
    with pytest.raises(Undeliverable, match=told) as refused:
        target_of(url, HTTPS, insecure=("http",))
    assert "passwd" not in str(refused.value)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "host", ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1", "0x7f000001", "0", "localhost", "127.0.0.1", "::1"]
)
async def test_odd_forms_of_loopback_are_what_they_resolve_to(host: str) -> None:
    with pytest.raises(Undeliverable, match=r"is not a public address .*allow_private: true"):
        await checked(host, 443, allow_private=False)


async def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["1.1.1.1", "10.0.0.5"]

    with pytest.raises(Undeliverable, match=r"10\.0\.0\.5"):
        await checked("hooks.example.org", 443, allow_private=False, look_up=both)


async def test_a_name_that_resolves_to_another_address_the_next_moment_gains_nothing() -> None:
    """DNS rebinding: the network is asked for the address that was checked, never for the name again."""
    answers, connected = [["93.184.216.34"], ["127.0.0.1"]], []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    class Network(httpcore.AsyncMockBackend):
        async def connect_tcp(self, host: str, *more: Any, **options: Any) -> httpcore.AsyncNetworkStream:
            connected.append(host)
            raise httpcore.ConnectError

    guarded = Guarded(allow_private=False, look_up=rebinding)
    guarded._inner = Network([])
    with pytest.raises(httpcore.ConnectError):
        await guarded.connect_tcp("rebind.example.org", 443)
    with pytest.raises(Undeliverable, match=r"not a public address \(127\.0\.0\.1\)"):
        await guarded.connect_tcp("rebind.example.org", 443)
    assert connected == ["93.184.216.34"]


async def test_the_connection_goes_to_the_checked_address_and_the_name_is_not_looked_up_again() -> None:
    asked = []

    async def once(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    with http_receiver() as receiver:
        url = receiver.url.replace("127.0.0.1", "hooks.example.org")
        answer = await post(Post(f"{url}/path", b"{}", allow_private=True), look_up=once)
        assert answer.status == 200
        assert receiver.got[0].headers["host"].startswith("hooks.example.org:")
    assert len(asked) == 1


async def test_a_redirect_is_not_followed() -> None:
    with http_receiver() as inside, http_receiver(Says(307, headers=(("location", inside.url),))) as outside:
        with pytest.raises(Undeliverable, match=r"answered 307.*redirects are not followed"):
            await post(Post(outside.url, b"{}", allow_private=True))
        assert inside.got == []
        assert len(outside.got) == 1


async def test_an_answer_is_read_no_further_than_its_bound() -> None:
    with http_receiver(Says(200, b"x" * 10_000_000)) as receiver:
        answer = await post(Post(receiver.url, b"{}", allow_private=True))
    assert len(answer.body) == 65_536


async def test_a_receiver_that_hangs_is_left_and_the_message_counts_as_doubtful() -> None:
    with http_receiver(then=Says(hang_s=5)) as receiver, pytest.raises(NotSent, match="not answer in time") as failed:
        await post(Post(receiver.url, b"{}", allow_private=True), total_s=0.3)
    assert failed.value.doubtful
    assert not isinstance(failed.value, Undeliverable)


async def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    with pytest.raises(NotSent, match="cannot be resolved") as failed:
        await checked("no-such-host.invalid", 443, allow_private=False)
    assert not isinstance(failed.value, Undeliverable)


async def test_the_second_address_is_tried_where_the_first_does_not_answer() -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    with http_receiver() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        made = await connect("mail.example.org", port, 2, allow_private=True, look_up=two)
        assert made.getpeername() == ("127.0.0.1", port)
        made.close()


async def test_the_system_s_resolver_is_asked() -> None:
    assert "127.0.0.1" in await resolve("localhost", 80)
