"""Real servers on loopback for tests of messages: HTTP ones that answer as told, SMTP ones, and certificates for both."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Says:
    """One answer of a receiver; `hang_s`: it answers so late. `headers` are added. `echo`: what it repeats of a request."""

    status: int = 200
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()
    hang_s: float = 0.0
    echo: Callable[[Got], bytes] | None = None


@dataclass
class Got:
    """One request that a receiver got; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What a running HTTP server was asked, and what it answers next: `script` in order, then `then`."""

    url: str = ""
    script: list[Says] = field(default_factory=list)
    then: Says = Says()
    got: list[Got] = field(default_factory=list)

    def wait(self, count: int, seconds: float = 20) -> list[Got]:
        """The requests, once there are so many."""
        until = time.monotonic() + seconds
        while len(self.got) < count:
            assert time.monotonic() < until, f"{len(self.got)} of {count} requests after {seconds} s"
            time.sleep(0.02)
        return self.got


@contextmanager
def http_receiver(*script: Says, then: Says = Says(), tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """An HTTP server on 127.0.0.1, with TLS where a context is given."""
    receiver = Receiver(script=list(script), then=then)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Got(self.path, headers, body, time.time()))
                said = receiver.script.pop(0) if receiver.script else receiver.then
            if said.hang_s:
                time.sleep(said.hang_s)
            told = said.body + (said.echo(receiver.got[-1]) if said.echo else b"")
            try:
                self.send_response(said.status)
                for name, value in said.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)
            except OSError:
                return

        do_GET = do_POST

        def log_message(self, *arguments: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Mailbox:
    """What a running SMTP server got."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    """Recipient → the answer to RCPT."""
    answer: list[str] = field(default_factory=list)
    """Answers to DATA, in order; then 250."""


@contextmanager
def smtp_receiver(
    *, user: str | None = None, password: str | None = None, starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None
) -> Iterator[Mailbox]:  # fmt: skip
    """An SMTP server on 127.0.0.1: with STARTTLS required, or TLS from the start, and AUTH where a user is given."""
    mailbox = Mailbox()

    class Handler:
        async def handle_RCPT(
            self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
        ) -> str:
            if address in mailbox.refuse:
                return mailbox.refuse[address]
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            said = mailbox.answer.pop(0) if mailbox.answer else "250 OK"
            if said.startswith("250"):
                mail = message_from_bytes(envelope.original_content or b"", policy=policy.default)
                assert isinstance(mail, EmailMessage)
                mailbox.mails.append(mail)
                mailbox.recipients.append(list(envelope.rcpt_tos))
            return said

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        login = (data.login.decode(), data.password.decode())
        mailbox.logins.append(login)
        return AuthResult(success=login == (user, password), handled=False)

    controller = Controller(
        Handler(),
        hostname="127.0.0.1",
        port=_free_port(),
        ssl_context=tls,
        tls_context=starttls,
        require_starttls=starttls is not None,
        authenticator=authenticate if user else None,
        auth_required=user is not None,
        auth_require_tls=starttls is not None,
    )
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()


def certificate(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for these names or addresses that signs itself: the file that clients trust, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    found = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_named(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "server.pem", folder / "server.key"
    cert.write_bytes(found.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return cert, context


def _named(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
