"""Signing in with an OpenID Connect provider: code flow with PKCE, state and nonce, and an identity that is a declared person.

What a provider says is believed only where its signed ID token says it: a verified e-mail address that exactly one declared
person has, or a subject that is a person's name. Roles and teams never come from it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, insert, select
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agents.configuration import Configuration
from agents.errors import Misconfigured, Retryable
from orchestration.console.database import Database, digest, flows
from orchestration.console.forms import safe_next
from orchestration.console.parts import Parts, parts_of
from orchestration.console.signing_in import begin
from orchestration.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Signatures with a private key of the provider's; never `none`, never a shared secret."""
FLOW_MS = 600_000
"""A sign-in must come back within so long."""
KEPT_S, AGAIN_S = 3600.0, 30.0
"""Discovery and keys are kept so long; for an unknown key they are fetched again, but not more often than that."""
LEEWAY_S = 60
SCOPE = "openid email"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider vouches for."""

    subject: str
    email: str | None
    """Only where the provider says that it verified it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in that was begun."""

    url: str
    state: str
    nonce: str
    verifier: str


class Provider:
    """One provider, found by its issuer's discovery document."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer, self._client_id, self._secret = issuer.rstrip("/"), client_id, client_secret
        self._transport, self._clock = transport, clock
        self._found: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._found_at = self._keys_at = -1e12
        _encrypted(self.issuer, self.issuer)

    async def begin(self, redirect_uri: str) -> Flow:
        """Where the browser goes, and what must come back with it."""
        endpoint = (await self._discovery())["authorization_endpoint"]
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(32)
        client = OAuth2Client(
            None, self._client_id, scope=SCOPE, redirect_uri=redirect_uri, code_challenge_method="S256"
        )
        url, state = client.create_authorization_url(
            endpoint, state=secrets.token_urlsafe(32), code_verifier=verifier, nonce=nonce
        )
        return Flow(str(url), str(state), nonce, verifier)

    async def finish(self, redirect_uri: str, code: str, verifier: str, nonce: str) -> Identity:
        """Whom the code stands for.

        Raises HTTPException(403) where the provider or its token says otherwise, Retryable where it does not answer.
        """
        endpoint = (await self._discovery())["token_endpoint"]
        asked = prepare_token_request(
            "authorization_code",
            code=code,
            redirect_uri=redirect_uri,
            code_verifier=verifier,
            client_id=self._client_id,
        )
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if self._secret:
            proof = ClientAuth(self._client_id, self._secret, "client_secret_basic")
            endpoint, headers, asked = proof.prepare("POST", endpoint, headers, asked)
        try:
            async with self._http() as http:
                response = await http.post(endpoint, content=asked, headers=headers)
            token = response.json().get("id_token") if response.status_code == 200 else None
        except httpx.HTTPError as error:
            raise Retryable(f"{self.issuer} does not answer ({type(error).__name__}); sign in again") from error
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise HTTPException(403, "the provider did not confirm this sign-in; try again")
        return self._identity(await self._claims(token), nonce)

    def _identity(self, claims: dict[str, Any], nonce: str) -> Identity:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        now, expires, issued = self._clock(), claims.get("exp"), claims.get("iat")
        subject, email = claims.get("sub"), claims.get("email")
        party = claims.get("azp")
        wrong = (
            str(claims.get("iss", "")).rstrip("/") != self.issuer
            or self._client_id not in audiences
            or (len(audiences) > 1 and party is None)
            or (party is not None and party != self._client_id)
            or not isinstance(expires, int | float)
            or expires + LEEWAY_S < now
            or not isinstance(issued, int | float)
            or issued - LEEWAY_S > now
            or not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode())
            or not isinstance(subject, str)
            or not subject
        )
        if wrong:
            raise HTTPException(403, "the provider's ID token is not for this sign-in")
        verified = claims.get("email_verified") is True and isinstance(email, str) and "@" in email
        return Identity(str(subject), str(email) if verified else None)

    async def _claims(self, token: str) -> dict[str, Any]:
        for fresh in (False, True):
            keys = await self._key_set(fresh=fresh)
            try:
                return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)
            except (JoseError, ValueError) as error:
                if fresh:
                    raise HTTPException(403, "the provider's ID token is not signed by the provider") from error
        raise AssertionError

    async def _discovery(self) -> dict[str, Any]:
        if self._clock() - self._found_at > KEPT_S:
            found = await self._get(f"{self.issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                raise Misconfigured(f"{self.issuer} calls itself otherwise; set GOVERN_OIDC_ISSUER to what it says")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                _encrypted(str(found.get(name, "")), self.issuer)
            self._found, self._found_at = found, self._clock()
        return self._found

    async def _key_set(self, *, fresh: bool) -> KeySet:
        age = self._clock() - self._keys_at
        if self._keys is None or age > (AGAIN_S if fresh else KEPT_S):
            found = await self._get((await self._discovery())["jwks_uri"])
            try:
                self._keys, self._keys_at = KeySet.import_key_set(found), self._clock()  # type: ignore[arg-type]
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise Retryable(f"the keys of {self.issuer} cannot be read") from error
        return self._keys

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            async with self._http() as http:
                response = await http.get(url)
                response.raise_for_status()
                found = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Retryable(f"{self.issuer} does not answer ({type(error).__name__}); try again") from error
        if not isinstance(found, dict):
            raise Retryable(f"{url} is no JSON object")
        return found

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport, timeout=10, trust_env=False, follow_redirects=False)


def provider_of(settings: Settings) -> Provider | None:
    """The provider that the settings name; None where they name none. Raises Misconfigured with the mend."""
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id:
        raise Misconfigured("GOVERN_OIDC_ISSUER without GOVERN_OIDC_CLIENT_ID")
    secret = settings.oidc_client_secret
    return Provider(settings.oidc_issuer, settings.oidc_client_id, secret.get_secret_value() if secret else None)


def person_of(configuration: Configuration | None, identity: Identity) -> str | None:
    """The declared person; None where nobody, or more than one, is meant."""
    people = configuration.escalation.people if configuration is not None else {}
    found = {identity.subject} & people.keys()
    if identity.email is not None:
        email = identity.email.casefold()
        found |= {person for person, member in people.items() if (member.email or "").casefold() == email}
    return next(iter(found)) if len(found) == 1 else None


async def start(request: Request) -> Response:
    """To the provider; what comes back must come to this browser."""
    parts, provider = _provider(request)
    flow = await provider.begin(_redirect_uri(request, parts))
    onward = safe_next(request.query_params.get("next", "/"))
    row = {
        "state": digest(flow.state),
        "browser": digest(request.state.browser),
        "nonce": flow.nonce,
        "verifier": flow.verifier,
        "next": onward,
        "created_ms": parts.clock(),
    }
    await run_in_threadpool(_keep, parts.database, row)
    return RedirectResponse(flow.url, 303)


async def back(request: Request) -> Response:
    """From the provider: the state of this browser, once; then the code; then a session."""
    parts, provider = _provider(request)
    state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
    row = await run_in_threadpool(_take, parts.database, digest(state))
    browser = getattr(request.state, "browser", "")
    if row is None or not browser or row.browser != digest(browser) or row.created_ms < parts.clock() - FLOW_MS:
        raise HTTPException(403, "this sign-in was not begun here, or took too long; begin it again")
    if not code or request.query_params.get("iss", provider.issuer).rstrip("/") != provider.issuer:
        raise HTTPException(403, "the provider did not sign you in")
    identity = await provider.finish(_redirect_uri(request, parts), code, row.verifier, row.nonce)
    person = person_of(parts.configuration(), identity)
    if person is None:
        raise HTTPException(
            403,
            "the configuration declares nobody with your address: add it under escalation.people.<person>.email, or name the "
            "person as the provider's subject does",
        )
    return await begin(request, person, "oidc", row.next)


def _provider(request: Request) -> tuple[Parts, Provider]:
    parts = parts_of(request)
    if parts.provider is None:
        raise HTTPException(404)
    if getattr(request.state, "browser", None) is None:
        raise HTTPException(403, "you are signed in already")
    return parts, parts.provider


def _redirect_uri(request: Request, parts: Parts) -> str:
    found = parts.configuration()
    declared = (found.escalation.console_url or "") if found is not None else ""
    origin = declared.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"
    return f"{origin}/sign-in/oidc/back"


def _keep(database: Database, row: dict[str, Any]) -> None:
    with database.begin() as connection:
        connection.execute(insert(flows).values(row))


def _take(database: Database, state: str) -> Any:
    with database.begin() as connection:
        row = connection.execute(select(flows).where(flows.c.state == state)).one_or_none()
        connection.execute(delete(flows).where(flows.c.state == state))
        return row


def _encrypted(url: str, issuer: str) -> None:
    parts, own = urlsplit(url), urlsplit(issuer)
    near = own.hostname in ("127.0.0.1", "localhost", "::1")
    if not parts.hostname or parts.scheme not in (("https", "http") if near else ("https",)):
        raise Misconfigured(f"GOVERN_OIDC_ISSUER: {url or 'an endpoint'} is not https")


ROUTES = (
    Route("/sign-in/oidc", start, methods=["GET"]),
    Route("/sign-in/oidc/back", back, methods=["GET"]),
)
