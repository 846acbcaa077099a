"""Attacks from outside: answer links, guessing, redirects, and requests that are no browser's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from orchestration.answer_links import LONGEST, make
from orchestration.console.forms import safe_next
from orchestration.console.rendering import Statics
from tests.unit.console.attacking import attack, gained
from tests.unit.console.served import HOST, PASSWORD, START_MS, Served, answer, sign_in, signed_in, token_of

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
            if response.status_code not in (400, 404, 410):
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
            await browser.post("/sign-in", content=b"", headers={**form, "content-length": "9" * 5000}),
        ]
    statuses = [response.status_code for response in sent]
    return None if statuses == [413] * 6 else f"they answered {statuses}"


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
