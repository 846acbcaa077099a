"""E-mail: one message with a plain and an HTML alternative, threaded by incident, marked as sent by a machine.

Promise: a title cannot add headers or markup; `smtps://` and `smtp+starttls://` verify the server's certificate; the
password travels encrypted or not at all, unless the channel allows a private, unencrypted server.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
import ssl
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime

import aiosmtplib

from agents.events import Severity
from orchestration.notify.errand import Errand, Sent
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from orchestration.notify.guard import connect, target_of, trusted
from orchestration.notify.message import Message
from orchestration.notify.posting import scrubbed

PORTS = {"smtps": 465, "smtp+starttls": 587, "smtp": 25}
CONNECT_S, ANSWER_S, TOTAL_S = 5.0, 10.0, 30.0
COLUMNS = 72
"""Characters of a line in the plain alternative."""
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
COLOURS = {"critical": "#b3261e", "error": "#b3261e", "warning": "#8a5a00", "info": "#1b5e8c"}


async def send(errand: Errand) -> Sent:
    """Send it once, to all addresses in one message.

    Raises Unreachable where the server takes none of the addresses, Undeliverable where it says 5xx to anything else or
    nothing valid is declared; NotSent otherwise.
    """
    target = target_of(errand.url(), PORTS, insecure=("smtp",), allow_private=errand.channel.allow_private)
    user = password = None
    if errand.channel.secret is not None:
        user, _, password = errand.secret("user:password").partition(":")
    recipients = addresses_of(errand.addresses)
    if not recipients:
        raise Unreachable(
            f"channel {errand.name!r} has nobody to write to; declare `to`, or tell people with an e-mail"
        )
    mail = written(errand, recipients)
    begun = False
    try:
        async with asyncio.timeout(TOTAL_S):
            socket = await connect(
                target.host, target.port, CONNECT_S, allow_private=errand.channel.allow_private, look_up=errand.look_up
            )
            server = aiosmtplib.SMTP(
                hostname=target.host,
                sock=socket,
                username=user,
                password=password,
                timeout=ANSWER_S,
                use_tls=target.scheme == "smtps",
                start_tls=target.scheme == "smtp+starttls",
                tls_context=trusted(),
                local_hostname=str(Address(addr_spec=errand.channel.sender or "").domain),
            )
            async with server:
                begun = True
                refused, _said = await server.send_message(mail, recipients=recipients)
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise _sorted(error, target.host, begun=begun, secrets=[one for one in (user, password) if one]) from error
    return errand.sent(len(recipients) - len(refused))


def written(errand: Errand, recipients: Sequence[str]) -> EmailMessage:
    """The message as it is sent. Raises Undeliverable where the channel's `sender` is missing or no address."""
    message = errand.message
    try:
        sender = Address("Governance in Motion", addr_spec=errand.channel.sender or "")
    except (HeaderParseError, ValueError, IndexError):
        sender = None
    if sender is None or not sender.domain or not sender.addr_spec.isascii():
        raise Undeliverable(
            f"channel {errand.name!r} needs `sender`, an e-mail address such as governance@bank.example"
        )
    mail = EmailMessage(SMTP_POLICY)
    mail["From"], mail["To"] = sender, [Address(addr_spec=one) for one in recipients]
    mail["Subject"] = message.headline
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.now_ms / 1000, UTC))
    mail["Message-ID"] = _id(message.id, sender.domain)
    # Nobody ever gets a message of the root's id: clients thread by it all the same, also where the first one was lost.
    root = _id(message.data.dedup, sender.domain)
    mail["References"] = mail["In-Reply-To"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Governance-Incident"] = hashlib.sha256(message.data.dedup.encode()).hexdigest()[:16]
    if message.data.severity is Severity.CRITICAL and not message.ends:
        mail["Importance"] = "high"
    mail.set_content(as_text(message))
    mail.add_alternative(as_html(message), subtype="html")
    return mail


def as_text(message: Message) -> str:
    """The plain alternative: lines of at most 72 characters, but for the link."""
    link = f"Open it:\n{message.link}" if message.link else None
    lines = "\n".join(map(_wrapped, message.lines))
    blocks = [block for block in (_wrapped(message.headline), lines, message.countdown, link) if block]
    return "\n\n".join(blocks) + f"\n\n-- \n{_wrapped(_footer(message))}\n"


def as_html(message: Message) -> str:
    """The HTML alternative: inline styles, no picture, no script, one link."""
    colour = "#2e6b34" if message.ends else COLOURS[message.data.severity.value]
    rows = [f'<p style="margin:0 0 8px">{html.escape(line)}</p>' for line in message.lines]
    if message.countdown:
        rows.append(f'<p style="margin:12px 0 8px"><strong>{html.escape(message.countdown)}</strong></p>')
    if message.link:
        link = html.escape(message.link, quote=True)
        style = "display:inline-block;padding:10px 18px;background:#1b5e8c;color:#ffffff;text-decoration:none;border-radius:6px"
        rows.append(f'<p style="margin:20px 0"><a href="{link}" style="{style}">Open it</a></p>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(message.headline)}</title></head>"
        '<body style="font:16px/1.5 system-ui,sans-serif;margin:0;padding:16px;overflow-wrap:anywhere">'
        # What a lock screen shows after the subject, which would else be the subject again.
        f'<div style="display:none;max-height:0;overflow:hidden">{html.escape(" ".join(message.lines[:2]))}</div>'
        f'<div role="main" style="max-width:560px;border-left:4px solid {colour};padding-left:16px">'
        f'<h1 style="font-size:18px;line-height:1.35;margin:0 0 12px">{html.escape(message.headline)}</h1>'
        f"{''.join(rows)}"
        f'<p style="margin:24px 0 0;font-size:13px;opacity:.75">{html.escape(_footer(message))}</p>'
        "</div></body></html>"
    )


def addresses_of(declared: Sequence[str]) -> list[str]:
    """Valid addresses among those declared, each once; a list may be given with commas.

    >>> addresses_of(["ann@bank.example, risk@bank.example", "nobody", "a@b.example\\r\\nBcc: c@d.example"])
    ['ann@bank.example', 'risk@bank.example']
    """
    parts = (part.strip(" ") for one in declared for part in one.split(","))
    return list(dict.fromkeys(part for part in parts if _ADDRESS.fullmatch(part)))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, COLUMNS, break_on_hyphens=False)


def _footer(message: Message) -> str:
    return f"Sent by Governance in Motion ({message.prefix}). Do not answer this message: nobody reads it."


def _id(name: str, domain: str) -> str:
    return f"<{hashlib.sha256(name.encode()).hexdigest()[:32]}@{domain}>"


def _sorted(error: BaseException, host: str, *, begun: bool, secrets: Sequence[str]) -> NotSent:
    """What a failure of SMTP means: codes from 500 on are final, what broke off after the beginning is doubtful."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        codes = sorted({one.code for one in error.recipients})
        told = f"{host} refused every recipient ({', '.join(map(str, codes))})"
        return Unreachable(told) if codes and codes[0] >= 500 else NotSent(told)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        told = f"{host} does not accept the user and password ({error.code})"
        return Undeliverable(told) if error.code >= 500 else NotSent(told)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        told = f"{host} answered {error.code}: {scrubbed(error.message, secrets)}"
        return Undeliverable(told) if error.code >= 500 else NotSent(told)
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotSent(f"the certificate of {host} is not trusted ({error.verify_message})")
    if isinstance(error, TimeoutError):
        return NotSent(f"{host} did not answer in time", doubtful=begun)
    if isinstance(error, aiosmtplib.SMTPServerDisconnected | ConnectionError | OSError):
        return NotSent(f"{host} broke off: {scrubbed(str(error), secrets)}", doubtful=begun)
    return Undeliverable(f"{host}: {scrubbed(str(error), secrets)}")
