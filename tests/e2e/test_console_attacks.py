"""What only a browser decides about attacks on the console: cookies, origins, frames, scripts; and a scanner with an engine.

The browser is the system's Chromium (browser.py).
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser

from tests.e2e.browser import chromium, sign_in
from tests.unit.console.serve import free_port
from tests.unit.console.served import PASSWORD, Served, serve


@pytest.fixture(scope="module", name="chromium")
def _chromium() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def listening(app: object, port: int) -> Iterator[None]:
    """An ASGI application on a socket, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.02)
        yield
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[tuple[Served, str]]:
    """The console on plain http on loopback, and its address."""
    port = free_port()
    served = serve(tmp_path, settings={"console_port": port})
    with listening(served.app, port):
        yield served, f"http://localhost:{port}"


@contextmanager
def elsewhere(html: str) -> Iterator[str]:
    """Another site, with one page."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_cookie_of_a_session_is_kept_on_loopback_and_no_script_can_read_it(
    chromium: Browser, console: tuple[Served, str]
) -> None:
    _, url = console
    context = chromium.new_context()
    page = context.new_page()
    sign_in(page, url, "dana")
    (cookie,) = [one for one in context.cookies() if one["name"] == "__Host-govern"]
    assert {name: cookie[name] for name in ("name", "secure", "httpOnly", "sameSite", "path")} == {  # type: ignore[literal-required]
        "name": "__Host-govern",
        "secure": True,
        "httpOnly": True,
        "sameSite": "Lax",
        "path": "/",
    }
    assert page.evaluate("document.cookie") == ""
    context.close()


def test_a_form_on_another_site_answers_nothing_and_signs_nobody_out(
    chromium: Browser, console: tuple[Served, str]
) -> None:
    served, url = console
    context = chromium.new_context()
    page = context.new_page()
    sign_in(page, url, "dana")
    page.goto(f"{url}/incidents/7f29-k1mq")
    token, ticket = page.inner_text("i"), page.inner_text("b")  # even with both in the attacker's hands
    fields = {"csrf": token, "ticket": ticket, "action": "approve", "reason": "x"}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    for path in ("/incidents/7f29-k1mq/answer", "/sign-out"):
        evil = f'<form method="post" action="{url}{path}">{inputs}</form><script>document.forms[0].submit()</script>'
        with elsewhere(evil) as site:
            page.goto(site)
            page.wait_for_url(f"{url}{path}", wait_until="load")
            assert "401" in page.content() or "403" in page.content()
    assert served.lane.sent == []
    assert page.goto(f"{url}/incidents/7f29-k1mq").status == 200  # type: ignore[union-attr]
    context.close()


def test_a_page_of_another_site_can_neither_frame_nor_read_the_console(
    chromium: Browser, console: tuple[Served, str]
) -> None:
    _, url = console
    context = chromium.new_context()
    page = context.new_page()
    sign_in(page, url, "dana")
    with elsewhere(f'<iframe src="{url}/incidents/7f29-k1mq"></iframe>') as site:
        page.goto(site)
        page.wait_for_timeout(500)
        framed = next(frame for frame in page.frames if frame != page.main_frame)
        assert "sha256:" not in framed.content()
        read = f"fetch('{url}/', {{credentials: 'include'}}).then(r => r.text()).catch(e => 'refused')"
        assert page.evaluate(read) == "refused"
        opened = f"try {{ window.open('{url}/').document.title }} catch (e) {{ 'refused' }}"
        assert page.evaluate(opened) in ("refused", "")
    context.close()


def test_a_script_that_got_into_a_page_would_not_run(chromium: Browser, console: tuple[Served, str]) -> None:
    _, url = console
    context = chromium.new_context()
    page = context.new_page()
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text))
    sign_in(page, url, "dana")
    page.evaluate("""() => {
        const inline = document.createElement("script"), other = document.createElement("script");
        inline.text = "window.ran = 1";
        other.src = "data:text/javascript,window.ran=1";
        document.body.append(inline, other);
        document.body.insertAdjacentHTML("beforeend", '<img src="x" onerror="window.ran=1">');
    }""")
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in blocked) >= 2
    context.close()


def test_a_scanner_that_follows_a_link_and_runs_scripts_uses_nothing_up(
    chromium: Browser, console: tuple[Served, str]
) -> None:
    served, url = console
    link = url + served.link("7f29-k1mq")
    scanner = chromium.new_context()
    for _ in range(3):
        page = scanner.new_page()
        scanner.request.get(link)
        scanner.request.head(link)
        page.goto(link)
        page.evaluate("document.querySelectorAll('a').forEach(a => fetch(a.href))")
        page.evaluate("document.querySelectorAll('form').forEach(f => { try { f.submit() } catch (e) {} })")
        page.wait_for_timeout(200)
        page.close()
    scanner.close()
    assert served.lane.sent == []

    person = chromium.new_context()
    page = person.new_page()
    page.goto(link)
    assert "/sign-in?next=/l/" in page.url
    page.fill("#person", "dana")
    page.fill("#password", PASSWORD)
    page.click("main button")
    assert page.url.startswith(f"{url}/incidents/7f29-k1mq?link=")
    fields = {"csrf": page.inner_text("i"), "ticket": page.inner_text("b"), "action": "approve", "reason": "looked"}
    page.evaluate(
        """fields => {
            const form = document.createElement("form"); form.method = "post"; form.action = "/incidents/7f29-k1mq/answer";
            for (const [name, value] of Object.entries(fields)) {
                const input = document.createElement("input"); input.name = name; input.value = value; form.append(input);
            }
            document.body.append(form); form.submit();
        }""",
        fields,
    )
    page.wait_for_url("**sent=**")
    assert page.inner_text("u") == "effect: dana answered: approve"
    ((_, data),) = served.lane.sent
    assert (data.person, data.not_after_ms) == ("dana", served.now[0] + 3_600_000)
    person.close()
