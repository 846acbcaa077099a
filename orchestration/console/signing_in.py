"""Signing in and out with a local account, and changing one's password.

The session that a browser brings to the sign-in is ended and a new one begun: an id that somebody planted is worth nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets

from anyio.to_thread import run_sync
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agents.errors import Misconfigured
from orchestration.console.access import BEFORE_COOKIE, client_address, cookie
from orchestration.console.accounts import LONGEST
from orchestration.console.forms import one, safe_next
from orchestration.console.parts import Parts, parts_of
from orchestration.console.rendering import render, viewer_at
from orchestration.console.sessions import COOKIE, LONGEST_MS, Disabled, Method, Session
from orchestration.console.standing import no_way_in

log = logging.getLogger("governance.console")
REFUSED = (
    "That did not work: the name or the password is wrong, the account is disabled, or there were too many tries. "
    "After some tries in a row each further one costs a wait of up to 15 minutes."
)


KNOWN, KNOWN_S = "__Host-govern-known", 90 * 86_400
"""The cookie of a browser that somebody signed in with; it signs nobody in, it only has failures counted apart."""


def introduce(secret: bytes, person: str) -> str:
    """The cookie's value for a browser in which this person has just signed in."""
    nonce = secrets.token_urlsafe(24)
    return f"{nonce}.{_mac(secret, person, nonce)}"


def known_browser(secret: bytes, person: str, value: str) -> str | None:
    """The browser's name in the count of failures; None for a value that was not made for this person.

    >>> known_browser(b"s", "dana", introduce(b"s", "dana")) is None, known_browser(b"s", "raj", introduce(b"s", "dana"))
    (False, None)
    """
    nonce, _, mac = value.partition(".")
    right = hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(secret, person, nonce).encode())
    return nonce if right else None


def _mac(secret: bytes, person: str, nonce: str) -> str:
    return hmac.new(secret, f"known:{nonce}:{person}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


async def show(request: Request) -> Response:
    """The form; whoever is signed in goes on."""
    onward = safe_next(request.query_params.get("next", "/"))
    if viewer_at(request).signed_in:
        return RedirectResponse(onward, 303)
    return await _form(request, onward)


async def sign_in(request: Request) -> Response:
    """Try it; one answer to every kind of failure."""
    parts, form = parts_of(request), request.state.form
    person, onward = _person(parts, one(form, "person", 200).lower()), safe_next(one(form, "next", 1000))
    passwords = form.getlist("password")
    if len(passwords) != 1 or len(str(passwords[0])) > LONGEST:
        return await _form(request, onward, REFUSED, 401)
    address = client_address(request, parts.settings)
    browser = known_browser(parts.secret, person, request.cookies.get(KNOWN, ""))
    attempt = await run_sync(parts.accounts.check, person, str(passwords[0]), address, browser, limiter=parts.hashing)
    if attempt.wait_s:
        log.warning("sign-in refused: too many tries from %s", address)
        response = await _form(request, onward, f"Too many tries from here: wait {attempt.wait_s} s.", 429)
        response.headers["retry-after"] = str(attempt.wait_s)
        return response
    if attempt.person is None:
        log.warning("sign-in refused: %s, from %s", _named(parts, person), address)
        return await _form(request, onward, REFUSED, 401)
    return await begin(request, attempt.person, "password", onward)


async def begin(request: Request, person: str, method: Method, onward: str) -> Response:
    """A new session for a person who has proved who they are, in place of whatever the browser had."""
    parts = parts_of(request)
    old: Session | None = getattr(request.state, "session", None)
    if old is not None:
        await run_in_threadpool(parts.sessions.end, old.digest)
    try:
        value, _session = await run_in_threadpool(parts.sessions.start, person, method)
    except Disabled as kept_out:
        raise HTTPException(403, kept_out.said) from kept_out
    log.info("%s signed in (%s) from %s", person, method, client_address(request, parts.settings))
    response = RedirectResponse(onward, 303)
    response.headers.append("set-cookie", cookie(COOKIE, value, LONGEST_MS // 1000))
    response.headers.append("set-cookie", cookie(BEFORE_COOKIE, "", 0))
    if method == "password" and not known_browser(parts.secret, person, request.cookies.get(KNOWN, "")):
        response.headers.append("set-cookie", cookie(KNOWN, introduce(parts.secret, person), KNOWN_S))
    return response


async def sign_out(request: Request) -> Response:
    """End the session, here and in the browser."""
    parts, session = parts_of(request), request.state.session
    if session is not None:
        await run_in_threadpool(parts.sessions.end, session.digest)
        log.info("%s signed out", session.person)
    response = RedirectResponse("/sign-in", 303)
    response.headers.append("set-cookie", cookie(COOKIE, "", 0))
    return response


async def sign_out_everywhere(request: Request) -> Response:
    """End every session of this person: a phone that was lost."""
    parts, session = parts_of(request), request.state.session
    if session is not None:
        ended = await run_in_threadpool(parts.sessions.end_all, session.person)
        log.info("%s signed out everywhere (%d sessions)", session.person, ended)
    response = RedirectResponse("/sign-in", 303)
    response.headers.append("set-cookie", cookie(COOKIE, "", 0))
    return response


async def account(request: Request) -> Response:
    """Who one is here, and the form for another password."""
    return await _account(request)


async def change_password(request: Request) -> Response:
    """Another password, for whoever knows the present one; every session ends but a new one for this browser."""
    parts, viewer, form = parts_of(request), viewer_at(request), request.state.form
    session: Session | None = request.state.session
    if viewer.person is None or session is None or session.method != "password":
        raise HTTPException(403, "your password is not kept here")
    old, new, again = (str(form.get(name, ""))[: LONGEST + 1] for name in ("old", "new", "again"))
    if new != again:
        return await _account(request, "The two new passwords differ.", 400)
    address = client_address(request, parts.settings)
    browser = known_browser(parts.secret, viewer.person, request.cookies.get(KNOWN, ""))
    attempt = await run_sync(parts.accounts.check, viewer.person, old, address, browser, limiter=parts.hashing)
    if wait_s := attempt.wait_s or attempt.locked_s:  # who is signed in may know which of the two it was
        return await _account(request, f"There were too many tries: wait {wait_s} s, then try again.", 429)
    if attempt.person is None:
        return await _account(request, "The present password is wrong.", 403)
    try:
        await run_sync(parts.accounts.set_password, viewer.person, new, limiter=parts.hashing)
    except Misconfigured as error:
        return await _account(request, str(error), 400)
    log.info("%s changed the password", viewer.person)
    return await begin(request, viewer.person, "password", "/account?changed=1")


def _person(parts: Parts, typed: str) -> str:
    """The person that was meant: by name, or by the e-mail address that exactly one declared person has."""
    configuration = parts.configuration()
    people = configuration.escalation.people if configuration is not None else {}
    if typed in people or "@" not in typed:
        return typed
    found = [person for person, member in people.items() if (member.email or "").lower() == typed]
    return found[0] if len(found) == 1 else typed


def _named(parts: Parts, person: str) -> str:
    """A name for the log; what nobody declares may be a password that was typed in the wrong field."""
    configuration = parts.configuration()
    declared = configuration.escalation.people if configuration is not None else {}
    return person if person in declared else "somebody unknown"


async def _account(request: Request, problem: str = "", status: int = 200) -> Response:
    session: Session | None = request.state.session
    parts, person = parts_of(request), viewer_at(request).person
    open_ones = await run_in_threadpool(parts.sessions.count, person) if person is not None else 0
    return render(
        request,
        "account.html",
        status=status,
        problem=problem,
        sessions=open_ones,
        changed=bool(request.query_params.get("changed")),
        local=session is not None and session.method == "password",
    )


async def _form(request: Request, onward: str, problem: str = "", status: int = 200) -> Response:
    parts: Parts = parts_of(request)
    local = await run_in_threadpool(parts.accounts.exist)
    return render(
        request,
        "sign_in.html",
        status=status,
        next=onward,
        problem=problem,
        local=local,
        provider=parts.provider is not None,
        nobody=await run_in_threadpool(no_way_in, parts),
    )


ROUTES = (
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
    Route("/sign-out/everywhere", sign_out_everywhere, methods=["POST"]),
    Route("/account", account, methods=["GET"]),
    Route("/account", change_password, methods=["POST"]),
)
