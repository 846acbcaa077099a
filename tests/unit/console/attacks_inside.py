"""Attacks on somebody who is signed in, and by somebody who is: forms, sessions, other people's things, replays."""

from __future__ import annotations

import asyncio
import secrets

from tests.unit.console.attacking import attack, gained
from tests.unit.console.served import HOST, PASSWORD, URL, Served, answer, marked, sign_in, signed_in, token_of

CROSS = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}


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
async def csrf_that_says_only_which_kind_of_site_it_is_from(served: Served) -> str | None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        for site in ("cross-site", "same-site", "none", "Same-Origin"):
            browser.headers["sec-fetch-site"] = site
            if found := await gained(served, await answer(browser, page=page)):
                return found
    return None


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
