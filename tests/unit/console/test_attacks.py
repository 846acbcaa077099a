"""Attacks on the console, one a line of the table: each is tried against the whole application, and none succeeds.

An attack returns what it gained, as a sentence, or None. Everybody's browser is real but for its engine: cookies, origins and
fetch metadata are as browsers send them. What an engine decides (CSP, cookie prefixes, scanners) stands in tests/e2e.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from orchestration.answer_links import LONGEST, make
from orchestration.console.forms import safe_next
from orchestration.console.rendering import Statics
from tests.unit.console.served import (
    HOST,
    PASSWORD,
    START_MS,
    URL,
    Served,
    answer,
    marked,
    serve,
    sign_in,
    signed_in,
    token_of,
)

Attack = Callable[[Served], Awaitable[str | None]]
ATTACKS: dict[str, Attack] = {}
CROSS = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}


def attack(function: Attack) -> Attack:
    """Enter it in the table under its name, in words."""
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


async def gained(
    served: Served, response: httpx.Response, allowed: tuple[int, ...] = (400, 401, 403, 404, 409, 413, 415)
) -> str | None:
    """What an attempt to answer gained: that something was sent, or a status that says so."""
    if served.lane.sent:
        return f"a review was sent: {served.lane.sent}"
    return None if response.status_code in allowed else f"it answered {response.status_code}"


# -- forms that others send --------------------------------------------------------------------------------------------


@attack
async def csrf_from_another_site(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        response = await browser.post("/incidents/7f29-k1mq/answer", data=fields, headers=CROSS)
    return await gained(served, response)


@attack
async def csrf_with_a_null_origin(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        response = await browser.post(
            "/incidents/7f29-k1mq/answer", data=fields, headers={"origin": "null", "sec-fetch-site": "cross-site"}
        )
    return await gained(served, response)


@attack
async def csrf_from_an_old_browser_that_says_nothing(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        del browser.headers["sec-fetch-site"]
        response = await browser.post("/incidents/7f29-k1mq/answer", data=fields)
    return await gained(served, response)


@attack
async def csrf_from_a_sister_domain(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        sister = {"sec-fetch-site": "same-site", "origin": "https://wiki.bank.example"}
        response = await browser.post("/incidents/7f29-k1mq/answer", data=fields, headers=sister)
    return await gained(served, response)


@attack
async def csrf_origin_that_only_begins_like_ours(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        response = await answer(browser, csrf="", page=await browser.get("/incidents/7f29-k1mq"))
        browser.headers["origin"] = f"{URL}.evil.example"
        response = await answer(browser)
    return await gained(served, response)


@attack
async def csrf_without_a_token(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        return await gained(served, await answer(browser, csrf=""))


@attack
async def csrf_with_a_made_up_token(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        return await gained(served, await answer(browser, csrf=secrets.token_urlsafe(32)))


@attack
async def csrf_with_the_token_of_another_person(served: Served) -> str | None:
    async with signed_in(served, "vic") as other, signed_in(served, "dana") as browser:
        token = marked(await other.get("/incidents/7f29-k1mq"), "i")
        return await gained(served, await answer(browser, csrf=token))


@attack
async def csrf_with_two_tokens_one_of_them_right(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        return await gained(served, await answer(browser, page=page, csrf=[marked(page, "i"), "mine"]))


@attack
async def csrf_token_in_the_address_instead_of_the_form(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        address = f"/incidents/7f29-k1mq/answer?csrf={marked(page, 'i')}"
        fields = {"ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        return await gained(served, await browser.post(address, data=fields))


@attack
async def answer_as_json(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        return await gained(served, await browser.post("/incidents/7f29-k1mq/answer", json=fields))


@attack
async def answer_as_plain_text_or_upload(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        text = f"csrf={marked(page, 'i')}&ticket={marked(page, 'b')}&action=approve&reason=x"
        for kind in ("text/plain", "multipart/form-data; boundary=x", ""):
            response = await browser.post("/incidents/7f29-k1mq/answer", content=text, headers={"content-type": kind})
            if found := await gained(served, response):
                return found
    return None


@attack
async def answer_by_get_or_another_method(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post"):
            response = await browser.request(method, "/incidents/7f29-k1mq/answer", params=fields)
            if response.status_code not in (400, 403, 404, 405, 415) or served.lane.sent:
                return f"{method} answered {response.status_code}"
    return None


@attack
async def method_override(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        override = {"x-http-method-override": "POST", "x-method-override": "POST", "x-http-method": "POST"}
        response = await browser.get(
            "/incidents/7f29-k1mq/answer", params={**fields, "_method": "POST"}, headers=override
        )
    return await gained(served, response, (404, 405))


@attack
async def sign_in_of_a_victim_into_the_attackers_account(served: Served) -> str | None:
    async with served.browser() as mine, served.browser() as victim:
        token = token_of(await mine.get("/sign-in"))
        await victim.get("/sign-in")
        fields = {"csrf": token, "person": "raj", "password": PASSWORD, "next": "/"}
        response = await victim.post("/sign-in", data=fields)
    return None if response.status_code == 403 else "the victim is signed in as the attacker"


@attack
async def sign_out_from_another_site(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        await browser.post("/sign-out", data={}, headers=CROSS)
        await browser.get("/sign-out")
        return None if (await browser.get("/")).status_code == 200 else "the victim was signed out"


# -- sessions ----------------------------------------------------------------------------------------------------------


@attack
async def fixation_of_a_made_up_session(served: Served) -> str | None:
    planted = secrets.token_urlsafe(32)
    async with served.browser() as browser:
        browser.cookies.set("__Host-govern", planted, domain=HOST)
        await sign_in(browser, "dana")
    return "the planted id is signed in" if served.parts.sessions.find(planted) else None


@attack
async def fixation_of_the_attackers_own_session(served: Served) -> str | None:
    async with signed_in(served, "raj") as mine:
        own = mine.cookies["__Host-govern"]
    async with served.browser() as victim:
        page = await victim.get("/sign-in")
        victim.cookies.set("__Host-govern", own, domain=HOST)
        fields = {"csrf": token_of(page), "person": "dana", "password": PASSWORD, "next": "/"}
        await victim.post("/sign-in", data=fields)
    found = served.parts.sessions.find(own)
    return "the attacker's session became the victim's" if found is not None and found.person == "dana" else None


@attack
async def fixation_of_the_browser_before_signing_in(served: Served) -> str | None:
    planted = secrets.token_urlsafe(32)
    async with served.browser() as browser:
        browser.cookies.set("__Host-govern-before", planted, domain=HOST)
        await sign_in(browser, "dana")
        if served.parts.sessions.find(planted):
            return "the id from before signing in is signed in"
        return None if browser.cookies["__Host-govern"] != planted else "the id was kept"


@attack
async def session_ids_that_are_guessed_cut_or_hashed(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        value = browser.cookies["__Host-govern"]
    session = served.parts.sessions.find(value)
    assert session is not None
    for guess in (
        "",
        "1",
        value[:-1],
        value + "A",
        value.swapcase(),
        session.digest,
        session.digest[7:],
        "a" * 43,
        "' OR 1=1 --",
    ):
        async with served.browser() as other:
            response = await other.get("/", headers={"cookie": f"__Host-govern={guess}"})
            if response.status_code != 303:
                return f"{guess!r} is signed in"
    return None


@attack
async def two_session_cookies_in_one_request(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser, served.browser() as other:
        value = browser.cookies["__Host-govern"]
        response = await other.get("/", headers={"cookie": f"__Host-govern=planted; __Host-govern={value}"})
        return None if response.status_code == 303 else "one of two cookies was taken"


@attack
async def cookie_of_a_session_that_was_signed_out(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        value = browser.cookies["__Host-govern"]
        session = served.parts.sessions.find(value)
        assert session is not None
        await browser.post("/sign-out", data={"csrf": session.csrf})
        response = await browser.get("/", headers={"cookie": f"__Host-govern={value}"})
        return None if response.status_code == 303 else "it is still signed in"


# -- other people's things ---------------------------------------------------------------------------------------------


@attack
async def another_teams_incident_by_id(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        theirs, missing = await browser.get("/incidents/0000-raj1"), await browser.get("/incidents/none-none")
        if theirs.status_code != 404:
            return f"it answered {theirs.status_code}"
        return (
            None
            if theirs.text.replace("0000-raj1", "none-none") == missing.text
            else "it can be told from a missing one"
        )


@attack
async def answer_to_another_teams_incident(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        fields = {"csrf": marked(page, "i"), "ticket": marked(page, "b"), "action": "approve", "reason": "x"}
        return await gained(served, await browser.post("/incidents/0000-raj1/answer", data=fields))


@attack
async def ticket_of_another_persons_page(served: Served) -> str | None:
    async with signed_in(served, "raj") as other, signed_in(served, "dana") as browser:
        ticket = marked(await other.get("/incidents/0000-raj1"), "b")
        token = marked(await browser.get("/incidents/7f29-k1mq"), "i")
        fields = {"csrf": token, "ticket": ticket, "action": "approve", "reason": "x"}
        return await gained(served, await browser.post("/incidents/0000-raj1/answer", data=fields))


@attack
async def ticket_from_before_somebody_left_the_team(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        old = served.parts.configuration()
        assert old is not None
        left = old.model_copy(
            update={
                "escalation": old.escalation.model_copy(
                    update={"teams": {"credit": old.escalation.teams["fraud"], "fraud": old.escalation.teams["fraud"]}}
                )
            }
        )
        served.app.state.parts.__dict__["configuration"] = lambda: left
        return await gained(served, await answer(browser, page=page))


@attack
async def answer_in_anothers_name(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        forged = {
            "person": "raj",
            "login": "sha256:" + "0" * 64,
            "viewer": "raj",
            "kind": "individual",
            "shown_ms": "9e9",
        }
        await answer(browser, **forged)
    ((_, data),) = served.lane.sent
    session = served.parts.sessions.find(browser.cookies["__Host-govern"])
    assert session is not None
    honest = data.person == "dana" and data.login == session.digest and data.kind == "bulk" and data.shown_ms == 0
    return None if honest else f"the form was believed: {data}"


@attack
async def claim_that_another_state_was_shown(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        shown = marked(page, "p")
        served.incidents["7f29-k1mq"] = served.incidents["7f29-k1mq"].model_copy(update={"severity": "critical"})
        await answer(browser, page=page, shown="sha256:" + "0" * 64, through='{"gim.decisions/0": 99999}')
    ((_, data),) = served.lane.sent
    return None if (data.shown, data.through) == (shown, {"gim.decisions/0": 13}) else f"it was believed: {data}"


@attack
async def single_decisions_that_the_page_did_not_show(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        for item in ("gim.decisions/0/500", "other.decisions/0/10", "gim.decisions/0/10/../11", "../../etc/passwd", ""):
            if found := await gained(served, await answer(browser, item=item)):
                return found
    return None


@attack
async def answer_by_a_visitor_of_a_console_without_accounts(served: Served) -> str | None:
    for person in ("dana", "sam", "raj", "vic", "audra"):
        served.parts.accounts.disable(person)
    async with served.browser() as browser:
        response = await browser.post(
            "/incidents/7f29-k1mq/answer", data={"csrf": "", "action": "approve", "reason": "x"}
        )
    return await gained(served, response)


# -- replays -----------------------------------------------------------------------------------------------------------


@attack
async def the_same_form_twice(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        first, second = await answer(browser, page=page), await answer(browser, page=page, action="reject")
        same = first.headers["location"] == second.headers["location"]
        return None if len(served.lane.sent) == 1 and same else f"sent {len(served.lane.sent)} times"


@attack
async def the_same_form_twenty_times_at_once(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        await asyncio.gather(*(answer(browser, page=page) for _ in range(20)))
    return None if len(served.lane.sent) == 1 else f"sent {len(served.lane.sent)} times"


@attack
async def a_flood_of_answers(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        for _ in range(35):
            response = await answer(browser)
    return None if response.status_code == 429 and len(served.lane.sent) == 30 else f"{len(served.lane.sent)} were sent"


# -- links -------------------------------------------------------------------------------------------------------------


@attack
async def answer_link_that_is_forged(served: Served) -> str | None:
    good = served.link("7f29-k1mq")
    bad = [
        make(b"x" * 32, "7f29-k1mq", START_MS * 2),
        good[:-2] + "AA",
        good[:20],
        "/l/" + "A" * 400,
        "/l/%00",
        "/l/e30.e30",
    ]
    async with signed_in(served, "dana") as browser:
        for link in bad:
            response = await browser.get(link)
            if response.status_code not in (404, 410):
                return f"{link} answered {response.status_code}"
    assert len(good) < LONGEST
    return None


@attack
async def answer_link_that_expired(served: Served) -> str | None:
    link = served.link("7f29-k1mq", lasts_s=60)
    async with signed_in(served, "dana") as browser:
        page = await browser.get(link, follow_redirects=True)
        served.later(61)
        if (await browser.get(link)).status_code != 410:
            return "it still opens"
        await answer(browser, page=page)
    ((_, data),) = served.lane.sent
    ends = data.not_after_ms
    return None if ends is not None and ends < served.now[0] else "an answer through it does not say that it expired"


@attack
async def answer_link_without_signing_in(served: Served) -> str | None:
    async with served.browser() as scanner:
        for method in ("GET", "HEAD", "POST"):
            response = await scanner.request(method, served.link("7f29-k1mq"))
            if response.status_code not in (303, 401, 403, 405) or served.lane.sent:
                return f"{method} answered {response.status_code}"
    return None


@attack
async def answer_link_that_a_scanner_used_first(served: Served) -> str | None:
    link = served.link("7f29-k1mq")
    async with served.browser() as scanner, signed_in(served, "dana") as browser:
        for _ in range(5):
            await scanner.get(link, follow_redirects=True)
            await scanner.head(link)
        page = await browser.get(link, follow_redirects=True)
        await answer(browser, page=page)
    return None if len(served.lane.sent) == 1 else "the person could not answer any more"


@attack
async def answer_link_to_another_teams_incident(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        response = await browser.get(served.link("0000-raj1"), follow_redirects=True)
        return None if response.status_code == 404 else f"it answered {response.status_code}"


# -- signing in --------------------------------------------------------------------------------------------------------


@attack
async def user_enumeration_by_what_is_said(served: Served) -> str | None:
    served.parts.accounts.disable("vic")
    said = set()
    async with served.browser() as browser:
        for person in ("dana", "nobody", "vic", "raj'--", "DANA"):
            response = await sign_in(browser, person, "not the password")
            said.add((response.status_code, response.text.replace(token_of(response), "")))
    return None if len(said) == 1 else "the answers differ"


@attack
async def guessing_a_password(served: Served) -> str | None:
    async with served.browser() as browser:
        for number in range(5):
            await sign_in(browser, "dana", f"guess {number}")
        response = await sign_in(browser, "dana")
    return None if response.status_code == 401 else "the account is not locked after five failures"


@attack
async def guessing_from_many_addresses(served: Served) -> str | None:
    for number in range(6):
        async with served.browser(address=f"198.51.100.{number}") as browser:
            response = await sign_in(browser, "dana", "guess" if number < 5 else PASSWORD)
    return None if response.status_code == 401 else "the account is not locked after five failures"


@attack
async def guessing_behind_a_forged_forwarded_address(served: Served) -> str | None:
    async with served.browser() as browser:
        for number in range(21):
            browser.headers["x-forwarded-for"] = f"198.51.100.{number}"
            response = await sign_in(browser, f"name{number}", "guess")
    return None if response.status_code == 429 else "the forged address was believed"


@attack
async def guessing_in_parallel(served: Served) -> str | None:
    async with served.browser() as browser:
        token = token_of(await browser.get("/sign-in"))
        fields = {"csrf": token, "person": "dana", "next": "/"}
        tries = [browser.post("/sign-in", data={**fields, "password": f"guess {number}"}) for number in range(15)]
        await asyncio.gather(*tries)
        response = await browser.post("/sign-in", data={**fields, "password": PASSWORD})
    return None if response.status_code == 401 else "the account is not locked"


@attack
async def proxy_header_from_nobodys_proxy(served: Served) -> str | None:
    async with served.browser() as browser:
        for header in ("x-forwarded-user", "x-remote-user", "remote-user", "x-auth-request-email"):
            response = await browser.get("/", headers={header: "dana"})
            if response.status_code != 303:
                return f"{header} was believed"
    return None


@attack
async def open_redirect_after_signing_in(served: Served) -> str | None:
    for onward in (
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "javascript:alert(1)",
        "/%0d%0aset-cookie:x=1\r\nx: y", "https:evil.example", "///evil.example", "http:/evil.example", "/@evil\x00",
        "data:text/html,x",
    ):  # fmt: skip
        async with served.browser() as browser:
            response = await sign_in(browser, "dana", next=onward)
            location = response.headers.get("location", "/")
            if response.status_code != 400 and location not in ("/", "/%0d%0aset-cookie:x=1"):
                return f"{onward!r} led to {location!r}"
        assert safe_next(onward) == "/"
    return None


# -- requests that are no browser's ------------------------------------------------------------------------------------


@attack
async def oversized_body(served: Served) -> str | None:
    form = {"content-type": "application/x-www-form-urlencoded"}

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    async with signed_in(served, "dana") as browser:
        sent = [
            await browser.post("/incidents/7f29-k1mq/answer", content=b"reason=" + b"x" * 70_000, headers=form),
            await browser.post("/incidents/7f29-k1mq/answer", content=chunks(), headers=form),
            await browser.post("/sign-in", content=chunks(), headers=form),
            await browser.post("/slack/interactive", content=b"x" * 70_000),
            await browser.post("/slack/interactive", content=chunks()),
        ]
    statuses = [response.status_code for response in sent]
    return None if statuses == [413] * 5 else f"they answered {statuses}"


@attack
async def oversized_fields_and_too_many(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        if found := await gained(served, await answer(browser, reason="x" * 5000)):
            return found
        return await gained(served, await answer(browser, **{f"f{number}": "" for number in range(500)}))


@attack
async def oversized_headers_and_address(served: Served) -> str | None:
    async with served.browser() as browser:
        headers = (await browser.get("/", headers={"x-long": "x" * 20_000})).status_code
        address = (await browser.get("/?" + "x" * 5000)).status_code
    return None if (headers, address) == (431, 414) else f"they answered {headers}, {address}"


@attack
async def host_header_of_another_name(served: Served) -> str | None:
    async with served.browser() as browser:
        for host in (
            "evil.example",
            "evil.example:8088",
            f"{HOST}.evil.example",
            f"{HOST}:444",
            f"evil@{HOST}",
            "",
            "169.254.169.254",
        ):
            response = await browser.get("/sign-in", headers={"host": host})
            if response.status_code != 421:
                return f"{host!r} answered {response.status_code}"
        forwarded = await browser.get("/", headers={"x-forwarded-host": "evil.example"})
        return None if "evil" not in str(forwarded.headers) else "the forwarded host was believed"


@attack
async def path_traversal_in_static_files(served: Served) -> str | None:
    async with served.browser() as browser:
        for path in (
            "../app.py", "..%2fapp.py", "%2e%2e/app.py", "....//app.py", "/etc/passwd", "..\\app.py", "console.css",
            "%2e%2e%2f%2e%2e%2fsettings.py", ".gitignore", "",
        ):  # fmt: skip
            response = await browser.get(f"/static/{path}")
            if response.status_code not in (303, 404):
                return f"{path} answered {response.status_code}"
        good = await browser.get(Statics().url("console.css"))
        assert good.headers["cache-control"] == "public, max-age=31536000, immutable"
    return None


@attack
async def clickjacking_sniffing_and_inline_script(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        for path in (
            "/",
            "/incidents/7f29-k1mq",
            "/incidents/none",
            "/sign-in",
            "/account",
            "/static/none",
            "/health",
            "/l/x",
        ):
            headers = (await browser.get(path)).headers
            policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
            strict = (
                policy["default-src"] == "'none'"
                and policy["script-src"] == "'self'"
                and policy["style-src"] == "'self'"
                and policy["frame-ancestors"] == "'none'"
                and policy["base-uri"] == "'none'"
                and policy["form-action"] == "'self'"
                and headers["x-frame-options"] == "DENY"
                and headers["x-content-type-options"] == "nosniff"
                and headers["referrer-policy"] in ("no-referrer", "same-origin")
                and headers["cross-origin-opener-policy"] == "same-origin"
                and headers["cross-origin-resource-policy"] == "same-origin"
                and headers["cache-control"] == "no-store"
                and "max-age=31536000" in headers["strict-transport-security"]
            )
            if not strict:
                return f"{path} does not say so: {headers}"
    return None


@attack
async def script_in_every_field_of_a_form(served: Served) -> str | None:
    script = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    async with served.browser() as browser:
        page = await browser.get(
            "/sign-in", params={"next": f"/{script}".replace(" ", ""), "problem": script, "sent": script}
        )
        failed = await sign_in(browser, script[:60], script, next="/" + script.replace(" ", ""))
        missing = await browser.get(f"/static/{script}")
    for response in (page, failed, missing):
        if "<script>alert" in response.text or "<img src=x" in response.text:
            return f"it came back as markup: {response.text}"
    return None


@attack
async def control_characters_in_a_reason(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        for text in ("ok\x00", "ok\x1b[31m", "a\x08b"):
            if found := await gained(served, await answer(browser, reason=text)):
                return found
    return None


@attack
async def slack_press_that_slack_did_not_sign(served: Served) -> str | None:
    async with served.browser() as browser:
        for headers in (
            {},
            {"x-slack-request-timestamp": str(START_MS // 1000), "x-slack-signature": "v0=" + "0" * 64},
        ):
            response = await browser.post("/slack/interactive", content=b"payload={}", headers=headers)
            if response.status_code not in (401, 404) or served.lane.sent:
                return f"it answered {response.status_code}"
    return None


@pytest.mark.parametrize("name", ATTACKS)
async def test_no_attack_succeeds(name: str, tmp_path: Path) -> None:
    assert await ATTACKS[name](serve(tmp_path)) is None
