"""An OpenID Connect provider for tests: it signs with real keys, checks PKCE, and lies where it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

ISSUER = "https://login.bank.example"
CLIENT = "govern-console"
SECRET = "client-secret"


@dataclass
class LocalProvider:
    """Vouches for `claims`; `token` changes what is signed, `key` and `algorithm` how."""

    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-17", "email": "dana@bank.example", "email_verified": True}
    )
    token: dict[str, Any] = field(default_factory=dict)
    key: RSAKey | ECKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1"}))
    algorithm: str = "RS256"
    signer: RSAKey | ECKey | None = None
    """Another key than the published one, where set."""
    unsigned: bool = False
    confused: bool = False
    """Signed with the public key as if it were a shared secret."""
    issuer: str = ISSUER
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    redeemed: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        """The provider."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    def transport(self) -> httpx.ASGITransport:
        """What reaches it without a network."""
        return httpx.ASGITransport(app=self.app())

    async def authorize(self, url: str) -> str:
        """What the provider's page does with somebody who agrees: the address that the browser is sent back to."""
        async with httpx.AsyncClient(transport=self.transport()) as client:
            return (await client.get(url)).headers["location"]

    async def _discovery(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys",
            }
        )

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"], "iss": ISSUER})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 303)

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(
            b"="
        )
        right = (
            asked is not None
            and request.headers.get("authorization") == f"Basic {basic}"
            and asked["code_challenge"] == challenge.decode()
            and asked["redirect_uri"] == form["redirect_uri"]
        )
        if asked is None or not right:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.redeemed.append(form["code"])
        now = int(time.time())
        said = {"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims = {name: value for name, value in {**said, **self.claims, **self.token}.items() if value is not None}
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": self._signed(claims)})

    def _signed(self, claims: dict[str, Any]) -> str:
        if self.unsigned or self.confused:
            header = {"alg": "none"} if self.unsigned else {"alg": "HS256", "kid": "k1"}
            said = ".".join(_coded(json.dumps(part).encode()) for part in (header, claims))
            mac = hmac.new(self.key.as_pem(private=False), said.encode(), hashlib.sha256).digest()
            return f"{said}.{'' if self.unsigned else _coded(mac)}"
        return jwt.encode(
            {"alg": self.algorithm, "kid": "k1"}, claims, self.signer or self.key, algorithms=[self.algorithm]
        )

    async def _keys(self, request: Request) -> Response:
        return JSONResponse({"keys": [{**self.key.as_dict(private=False), "kid": "k1"}]})


def _coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def query(url: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
