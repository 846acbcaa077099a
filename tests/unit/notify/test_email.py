"""E-mail to a real SMTP server: encrypted, authenticated, threaded, in two alternatives that no title can break."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.notify import email
from orchestration.notify.errand import Sent
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from tests.receivers import Mailbox, certificate, smtp_receiver
from tests.unit.notify.parts import HOSTILE, NOW, errand

SENDER = {"kind": "email", "sender": "governance@bank.example"}


async def mailed(mailbox: Mailbox, *to: str, scheme: str = "smtp", secret: str | None = None, **more: object) -> Sent:
    """Send one message to the server; people or the list."""
    channel = {**SENDER, "url": f"{scheme}://127.0.0.1:{mailbox.port}", "secret": secret}
    return await email.send(errand(channel, *(to or ("risk@bank.example",)), **more))


async def test_a_mail_has_both_alternatives_and_says_that_a_machine_sent_it() -> None:
    with smtp_receiver() as mailbox:
        await mailed(mailbox, "ann@bank.example", "bob@bank.example", deadline_ms=NOW + 45 * 60_000)
    (mail,) = mailbox.mails
    assert mailbox.recipients == [["ann@bank.example", "bob@bank.example"]]
    assert (
        mail["Subject"] == "Critical: credit-limit 2.1.0: 312 decisions held by lending/odd-case, answer by 14:05 UTC"
    )
    assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
    assert str(mail["From"]) == "Governance in Motion <governance@bank.example>"
    plain, html = (part.get_content() for part in mail.iter_parts())
    for text in (plain, html):
        assert "312 decisions wait for an answer by 14:05 UTC; then they are withheld" in text
        assert "Time left: 45 min" in text
        assert "https://console.bank.example/incidents/7f29-k1mq" in text
    assert "<script" not in html
    assert "http://" not in html, "no picture, no style, no script from anywhere"


async def test_mail_clients_see_the_messages_of_an_incident_as_one_thread() -> None:
    with smtp_receiver() as mailbox:
        for kind in ("trigger", "resolve"):
            await mailed(mailbox, kind=kind)
        await mailed(mailbox, dedup="another")
    first, second, other = mailbox.mails
    assert first["References"] == second["References"] == second["In-Reply-To"]
    assert first["References"] != other["References"]
    assert first["Message-ID"] == second["Message-ID"], "one notification has one id, however often it is sent"
    assert second["Importance"] is None


async def test_a_hostile_title_adds_neither_headers_nor_markup() -> None:
    with smtp_receiver() as mailbox:
        await mailed(mailbox, title=HOSTILE, lines=[HOSTILE, "<img src=x onerror=alert(1)>"])
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert mailbox.recipients == [["risk@bank.example"]]
    _plain, html = (part.get_content() for part in mail.iter_parts())
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert html.count("<a ") == 1
    assert "www.evil" not in html


async def test_starttls_and_a_password_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, context = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("GOVERN_SECRET_SMTP", "mailer:p:w")
    with smtp_receiver(user="mailer", password="p:w", starttls=context) as mailbox:
        with pytest.raises(NotSent, match="certificate"):
            await mailed(mailbox, scheme="smtp+starttls", secret="smtp")
        assert mailbox.logins == [], "no password goes to a server that is not trusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await mailed(mailbox, scheme="smtp+starttls", secret="smtp")
    assert mailbox.logins == [("mailer", "p:w")]
    assert len(mailbox.mails) == 1


async def test_tls_from_the_start_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, context = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with smtp_receiver(tls=context) as mailbox:
        await mailed(mailbox, scheme="smtps")
    assert len(mailbox.mails) == 1


async def test_a_server_without_starttls_gets_neither_mail_nor_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERN_SECRET_SMTP", "mailer:pw")
    with smtp_receiver() as mailbox, pytest.raises(Undeliverable, match="STARTTLS"):
        await mailed(mailbox, scheme="smtp+starttls", secret="smtp")
    assert mailbox.mails == []


async def test_a_wrong_password_is_final_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, context = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("GOVERN_SECRET_SMTP", "mailer:wrong-one")
    refusal = pytest.raises(Undeliverable, match=r"does not accept the user and password \(535\)")
    with smtp_receiver(user="mailer", password="pw", starttls=context) as mailbox, refusal as refused:
        await mailed(mailbox, scheme="smtp+starttls", secret="smtp")
    assert "wrong-one" not in str(refused.value)


async def test_one_recipient_refused_of_two_is_told_without_naming_anybody() -> None:
    with smtp_receiver() as mailbox:
        mailbox.refuse["bob@bank.example"] = "550 no such user bob@bank.example"
        sent = await mailed(mailbox, "ann@bank.example", "bob@bank.example")
    assert (sent.detail, sent.missed) == ("1 of 2 reached", 1)
    assert mailbox.recipients == [["ann@bank.example"]]


async def test_wrong_addresses_alone_do_not_make_the_channel_a_dead_one() -> None:
    with smtp_receiver() as mailbox:
        mailbox.refuse["bob@bank.example"] = "550 no such user bob@bank.example"
        with pytest.raises(Unreachable, match=r"refused every recipient \(550\)"):
            await mailed(mailbox, "bob@bank.example")
    with pytest.raises(Unreachable, match="has nobody to write to"):
        await mailed(Mailbox(port=9), "no address", "a@b\r\nBcc: c@d")


@pytest.mark.parametrize(
    ("answer", "final", "told"),
    [
        ("451 try later", False, "answered 451: try later"),
        ("554 no ann@bank.example here", True, "answered 554: no <address> here"),
    ],
)
async def test_a_server_s_refusal_says_whether_to_try_again(answer: str, final: bool, told: str) -> None:
    with smtp_receiver() as mailbox:
        mailbox.answer.append(answer)
        with pytest.raises(NotSent, match=told) as refused:
            await mailed(mailbox)
    assert isinstance(refused.value, Undeliverable) is final


async def test_nobody_listening_is_tried_again_and_a_bad_declaration_is_not() -> None:
    with pytest.raises(NotSent, match=r"127\.0\.0\.1:9 refuses") as failed:
        await mailed(Mailbox(port=9))
    assert not isinstance(failed.value, Undeliverable)
    with pytest.raises(Undeliverable, match="needs `sender`"):
        await email.send(errand({"kind": "email", "url": "smtp://127.0.0.1:9"}, "ann@bank.example"))
    with pytest.raises(Undeliverable, match="not encrypted"):
        await email.send(errand({**SENDER, "url": "smtp://127.0.0.1:9", "allow_private": False}, "ann@bank.example"))
