"""The names under which the console is reached. Whatever else a browser was led to believe (DNS rebinding) is refused."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from agents.configuration import Configuration
from orchestration.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Hosts:
    """Host headers and origins that are ours: loopback on the console's port, the configured URL, and what settings add."""

    def __init__(self, settings: Settings, configuration: Callable[[], Configuration | None]) -> None:
        self._settings, self._configuration = settings, configuration

    def origins(self) -> frozenset[str]:
        """Every origin of ours, `https://console.example.com` for example."""
        port = self._settings.console_port
        own = {f"http://{name}:{port}" for name in LOOPBACK}
        if self._settings.console_tls_cert is not None:
            own |= {f"https://{name}:{port}" for name in LOOPBACK}
        return frozenset(own | {f"https://{name}" for name in listed(self._settings.console_hosts)} | self._declared())

    def names(self) -> frozenset[str]:
        """Every Host header of ours, lower case."""
        return frozenset(urlsplit(origin).netloc for origin in self.origins())

    def secure(self) -> frozenset[str]:
        """Host headers that are reached by https alone: browsers shall be told to insist, and cookies are Secure."""
        plain = {urlsplit(origin).netloc for origin in self.origins() if origin.startswith("http://")}
        return self.names() - plain

    def _declared(self) -> frozenset[str]:
        found = self._configuration()
        url = urlsplit(found.escalation.console_url or "") if found is not None else urlsplit("")
        if url.scheme not in ("http", "https") or not url.netloc:
            return frozenset()
        default = {"http": ":80", "https": ":443"}[url.scheme]
        return frozenset({f"{url.scheme}://{url.netloc.lower().removesuffix(default)}"})


def listed(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated setting, lower case.

    >>> listed("a.example.com, B:8443")
    ('a.example.com', 'b:8443')
    """
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())
