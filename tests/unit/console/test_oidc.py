"""Signing in with an OpenID Connect provider, or through a trusted proxy: who is let in, and what is not believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey

from agents.errors import Misconfigured
from orchestration.console.oidc import Identity, Provider, person_of, provider_of
from orchestration.settings import Settings
from tests.unit.console.provider import CLIENT, ISSUER, SECRET, LocalProvider, query
from tests.unit.console.served import PASSWORD, URL, Served, configuration, serve, sign_in


def console(folder: Path, local: LocalProvider) -> Served:
    """A console without local accounts, in front of this provider."""
    provider = Provider(ISSUER, CLIENT, SECRET, transport=local.transport())
    return serve(folder, accounts=False, provider=provider)


async def through(browser: httpx.AsyncClient, local: LocalProvider, onward: str = "/") -> httpx.Response:
    """What a person does: press the button, agree at the provider, come back."""
    begun = await browser.get("/sign-in/oidc", params={"next": onward})
    assert begun.status_code == 303, begun.text
    return await browser.get(await local.authorize(begun.headers["location"]))


@pytest.mark.parametrize(
    "local",
    [
        LocalProvider(),
        LocalProvider(key=ECKey.generate_key("P-256", {"kid": "k1"}), algorithm="ES256"),
        LocalProvider(claims={"sub": "dana"}),
        LocalProvider(claims={"sub": "u-17", "email": "Dana@Bank.Example", "email_verified": True}),
        LocalProvider(token={"aud": [CLIENT, "other"], "azp": CLIENT}),
    ],
    ids=["RSA", "elliptic curve", "subject is the person", "e-mail in capitals", "two audiences"],
)
async def test_a_declared_person_is_signed_in_and_goes_on(tmp_path: Path, local: LocalProvider) -> None:
    served = console(tmp_path, local)
    async with served.browser() as browser:
        assert (await browser.get("/")).headers["location"] == "/sign-in"
        assert "Sign in with your organisation" in (await browser.get("/sign-in")).text
        back = await through(browser, local, "/incidents/7f29-k1mq")
        assert (back.status_code, back.headers["location"]) == (303, "/incidents/7f29-k1mq")
        assert "hello Dana Duarte" in (await browser.get("/")).text
        session = served.parts.sessions.find(browser.cookies["__Host-govern"])
        assert session is not None
        assert (session.person, session.method) == ("dana", "oidc")


def at(**token: Any) -> Callable[[], LocalProvider]:
    return lambda: LocalProvider(token=token)


LIES: dict[str, Callable[[], LocalProvider]] = {
    "an address that nobody has": lambda: LocalProvider(
        claims={"sub": "u-17", "email": "eve@bank.example", "email_verified": True}
    ),
    "an address that is not verified": lambda: LocalProvider(claims={"sub": "u-17", "email": "dana@bank.example"}),
    "verified as a word": lambda: LocalProvider(
        claims={"sub": "u-17", "email": "dana@bank.example", "email_verified": "true"}
    ),
    "one person's address, another's subject": lambda: LocalProvider(
        claims={"sub": "raj", "email": "dana@bank.example", "email_verified": True}
    ),
    "a token for another client": at(aud="other-app"),
    "two audiences, and none is the party": at(aud=[CLIENT, "other"]),
    "another party": at(azp="other-app"),
    "another issuer": at(iss="https://evil.example"),
    "a token that expired": at(exp=int(time.time()) - 3600),
    "a token of the future": at(iat=int(time.time()) + 3600),
    "a token without an end": at(exp=None),
    "another nonce": at(nonce="mine"),
    "no nonce": at(nonce=None),
    "no subject": at(sub=None, email=None),
    "signed by another key": lambda: LocalProvider(signer=RSAKey.generate_key(2048, {"kid": "k1"})),
    "signed with the public key as a secret": lambda: LocalProvider(confused=True),
    "not signed at all": lambda: LocalProvider(unsigned=True),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_a_token_must_say_is_checked(tmp_path: Path, lie: str) -> None:
    local = LIES[lie]()
    served = console(tmp_path, local)
    async with served.browser() as browser:
        back = await through(browser, local)
        assert back.status_code == 403, back.text
        assert "__Host-govern" not in browser.cookies
        assert len(local.redeemed) == 1, "the code was redeemed, so it was the token that was refused"


async def test_what_comes_back_must_have_been_begun_in_this_browser(tmp_path: Path) -> None:
    local = LocalProvider()
    served = console(tmp_path, local)
    async with served.browser() as attacker, served.browser() as victim:
        begun = await attacker.get("/sign-in/oidc")
        back = await local.authorize(begun.headers["location"])
        await victim.get("/sign-in")
        assert (await victim.get(back)).status_code == 403
        assert (await attacker.get(back)).status_code == 403, "and a state is good once"
        assert local.redeemed == []


async def test_a_state_a_code_or_an_issuer_that_is_made_up_signs_nobody_in(tmp_path: Path) -> None:
    local = LocalProvider()
    served = console(tmp_path, local)
    async with served.browser() as browser:
        for changed in ({"state": "mine"}, {"code": "mine"}, {"code": ""}, {"iss": "https://evil.example"}):
            begun = await browser.get("/sign-in/oidc")
            came = query(await local.authorize(begun.headers["location"]))
            assert (await browser.get("/sign-in/oidc/back", params={**came, **changed})).status_code == 403
        begun = await browser.get("/sign-in/oidc")
        back = await local.authorize(begun.headers["location"])
        served.later(601)
        assert (await browser.get(back)).status_code == 403, "ten minutes later"


async def test_the_browser_is_sent_back_to_the_declared_address_whatever_the_host_header_says(tmp_path: Path) -> None:
    served = console(tmp_path, LocalProvider())
    async with served.browser("http://127.0.0.1:8088") as browser:
        begun = await browser.get("/sign-in/oidc", params={"next": "//evil.example"})
        asked = query(begun.headers["location"])
    assert asked["redirect_uri"] == f"{URL}/sign-in/oidc/back"
    assert len(asked["state"]) >= 40
    assert len(asked["nonce"]) >= 40


async def test_a_provider_that_calls_itself_otherwise_or_is_not_encrypted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="calls itself otherwise"):
        await Provider(ISSUER, CLIENT, transport=LocalProvider(issuer="https://other.example").transport()).begin("x")
    with pytest.raises(Misconfigured, match="is not https"):
        Provider("http://login.bank.example", CLIENT)
    with pytest.raises(Misconfigured, match="GOVERN_OIDC_CLIENT_ID"):
        provider_of(Settings(_env_file=None, oidc_issuer=ISSUER))
    assert provider_of(Settings(_env_file=None)) is None


async def test_a_provider_that_changed_its_key_is_asked_for_the_new_one(tmp_path: Path) -> None:
    local = LocalProvider()
    served = console(tmp_path, local)
    async with served.browser() as browser:
        assert (await through(browser, local)).status_code == 303
    local.key = RSAKey.generate_key(2048, {"kid": "k1"})
    assert served.parts.provider is not None
    served.parts.provider._clock = lambda: time.time() + 40  # the old keys are half a minute old
    async with served.browser() as browser:
        assert (await through(browser, local)).status_code == 303


def test_two_people_with_the_same_address_are_nobody() -> None:
    people = {name: {"name": name, "email": "shared@bank.example"} for name in ("ann", "ben")}
    found = configuration(people=people, teams={})
    assert person_of(found, Identity("u", "shared@bank.example")) is None
    assert person_of(None, Identity("ann", None)) is None


# -- proxy -------------------------------------------------------------------------------------------------------------

PROXY = {"console_proxies": "10.0.0.2", "console_proxy_header": "X-Forwarded-User"}


async def test_a_trusted_proxy_says_who_somebody_is(tmp_path: Path) -> None:
    served = serve(tmp_path, accounts=False, settings=PROXY)
    async with served.browser(address="10.0.0.2") as browser:
        page = await browser.get("/", headers={"x-forwarded-user": "dana"})
        assert "hello Dana Duarte" in page.text
        first = browser.cookies["__Host-govern"]
        await browser.get("/", headers={"x-forwarded-user": "dana"})
        assert browser.cookies["__Host-govern"] == first
        assert "hello Raj Rao" in (await browser.get("/", headers={"x-forwarded-user": "raj"})).text
        assert browser.cookies["__Host-govern"] != first, "another person, another session"
        assert (await browser.get("/")).status_code == 303, "the proxy named nobody"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("203.0.113.7", [("x-forwarded-user", "dana")]),
        ("10.0.0.2", [("x-forwarded-user", "dana"), ("x-forwarded-user", "raj")]),
        ("10.0.0.2", [("x-forwarded-user", "  ")]),
        ("10.0.0.2", [("x-remote-user", "dana")]),
    ],
    ids=["not the proxy", "two names", "an empty name", "another header"],
)
async def test_nobody_else_does(tmp_path: Path, address: str, headers: list[tuple[str, str]]) -> None:
    served = serve(tmp_path, accounts=False, settings=PROXY)
    async with served.browser(address=address) as browser:
        assert (await browser.get("/", headers=headers)).status_code == 303


async def test_a_session_that_a_proxy_began_is_worth_nothing_beside_it(tmp_path: Path) -> None:
    served = serve(tmp_path, accounts=False, settings=PROXY)
    async with served.browser(address="10.0.0.2") as browser:
        await browser.get("/", headers={"x-forwarded-user": "dana"})
        value = browser.cookies["__Host-govern"]
    async with served.browser() as beside:
        assert (await beside.get("/", headers={"cookie": f"__Host-govern={value}"})).status_code == 303


async def test_a_disabled_account_is_kept_out_whoever_vouches_for_the_person(tmp_path: Path) -> None:
    served = serve(tmp_path, settings=PROXY)
    async with served.browser(address="10.0.0.2") as browser:
        browser.headers["x-forwarded-user"] = "dana"
        assert (await browser.get("/")).status_code == 200
        served.parts.accounts.disable("dana")
        for path in ("/", "/incidents/7f29-k1mq", "/events", "/account"):
            refused = await browser.get(path)
            assert (refused.status_code, "this account is disabled" in refused.text) == (403, True)
        assert served.parts.sessions.count("dana") == 0
        served.parts.accounts.enable("dana")
        assert (await browser.get("/")).status_code == 200


async def test_a_disabled_account_does_not_come_in_by_the_provider(tmp_path: Path) -> None:
    local = LocalProvider()
    served = console(tmp_path, local)
    served.parts.accounts.add("dana", PASSWORD)
    served.parts.accounts.disable("dana")
    async with served.browser() as browser:
        refused = await through(browser, local)
        assert (refused.status_code, "this account is disabled" in refused.text) == (403, True)
        assert served.parts.sessions.count("dana") == 0


async def test_failures_count_for_the_address_that_a_trusted_proxy_names(tmp_path: Path) -> None:
    served = serve(tmp_path, settings={"console_proxies": "10.0.0.2"})
    async with served.browser(address="10.0.0.2") as browser:
        browser.headers["x-forwarded-for"] = "198.51.100.66, 203.0.113.9"
        for number in range(20):
            await sign_in(browser, f"name{number}", "guess")
        assert (await sign_in(browser, "dana")).status_code == 429
        browser.headers["x-forwarded-for"] = "203.0.113.9, 203.0.113.10"
        assert (await sign_in(browser, "dana")).status_code == 303
