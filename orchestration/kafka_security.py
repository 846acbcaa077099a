"""TLS, SCRAM and ACLs for the local cluster: what an operator's cluster has, so that tests meet it as it is.

Clients speak TLS and prove themselves by SCRAM-SHA-256 or -512; controllers know each other by certificate. Nobody may
do anything without an ACL, except the user `admin`. Keys and passwords stay in files that only their owner reads.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import secrets
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agents.errors import Misconfigured

ADMIN = "admin"
NODE = "governance-node"
ITERATIONS = 4096
LIFETIME = datetime.timedelta(days=3650)
_MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


class TlsScram:
    """Certificates and users of one cluster, kept in `folder`; made by `prepare`, fixed from then on."""

    def __init__(self, folder: Path, users: Mapping[str, str]) -> None:
        self.folder = folder
        self.users = dict(users)

    def prepare(self) -> None:
        """Make authority, certificate and passwords at the first start (`admin` gets one when none was given).

        Raises Misconfigured when users are given that differ from those of the first start.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._users_file.exists():
            self._make_certificates()
            users = {ADMIN: secrets.token_urlsafe(24), **self.users}
            _write_private(self._users_file, json.dumps(users).encode())
        known = self._known()
        if self.users.items() - known.items():
            raise Misconfigured(
                f"the users of {self.folder.parent} were fixed when it was first started; give the same ones or none, "
                "or choose another folder"
            )

    def broker_properties(self) -> dict[str, str]:
        """What makes a node demand TLS, SCRAM and ACLs."""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        mine = f'{login} username="{ADMIN}" password="{_quoted(self._known()[ADMIN])}";'
        return {
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SSL",
            "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": mine,
            "listener.name.client.scram-sha-256.sasl.jaas.config": f"{login};",
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "node.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:CN={NODE}",
        }

    def format_arguments(self) -> list[str]:
        """Options of StorageTool that store the users; the passwords go in salted (RFC 5802), never in the clear."""
        arguments = []
        for name, password in self._known().items():
            for mechanism, digest in _MECHANISMS.items():
                salt = secrets.token_bytes(16)
                salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, ITERATIONS)
                value = f'name="{_quoted(name)}",iterations={ITERATIONS}'
                value += f',salt="{b64encode(salt).decode()}",saltedpassword="{b64encode(salted).decode()}"'
                arguments += ["--add-scram", f"{mechanism}=[{value}]"]
        return arguments

    def client_settings(self, user: str = ADMIN, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
        """Arguments of an aiokafka client for `user`; raises Misconfigured for a user that does not exist."""
        known = self._known()
        if user not in known:
            raise Misconfigured(f"no user {user!r}; there are {', '.join(sorted(known))}")
        return {
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(cafile=str(self.authority)),
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": known[user],
        }

    @property
    def authority(self) -> Path:
        """PEM file of the authority that a client must trust."""
        return self.folder / "authority.pem"

    @property
    def _users_file(self) -> Path:
        return self.folder / "users.json"

    def _known(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._users_file.read_text())
        except FileNotFoundError as error:
            raise Misconfigured(f"no Kafka was started in {self.folder.parent}: start it first") from error
        return known

    def _make_certificates(self) -> None:
        authority_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        issuer = _name("governance-in-motion local authority")
        authority = (
            _certificate(issuer, issuer, authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        roles = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        trusted = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        node = (
            _certificate(_name(NODE), issuer, node_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(roles), critical=False)
            .add_extension(trusted, critical=False)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        key = node_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.authority.write_bytes(authority.public_bytes(pem))
        _write_private(self.folder / "node.pem", key + node.public_bytes(pem) + authority.public_bytes(pem))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _write_private(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
