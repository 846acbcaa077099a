"""How the console stands: whether anybody can sign in, and whether what is answered here can count.

Where not, it says why and how to mend it, on every page.
"""

from __future__ import annotations

from collections.abc import Collection

from agents.dsse import parse_public
from orchestration.console.parts import Parts
from orchestration.signing_keys import console_lines


def no_way_in(parts: Parts) -> str | None:
    """Why nobody can sign in; None where somebody can."""
    settings = parts.settings
    if parts.provider is not None or settings.console_proxy_header or parts.accounts.exist():
        return None
    return (
        "Nobody has an account yet, so this console is read-only and answers to this machine alone. Declare a person in the "
        "configuration (escalation.people), apply it, then: govern user add PERSON"
    )


def read_only(parts: Parts) -> str | None:
    """Why nothing can be answered here; None where it can."""
    configuration = parts.configuration()
    if configuration is None:
        return "No configuration is in force, so nobody may answer: govern up CONFIG_DIR"
    if parts.key is None or parts.sender is None:
        return "This console has no key to sign answers with: start it as `govern console`"
    public = parts.key.public.text
    if public not in configuration.escalation.console_keys.values():
        known = configuration.escalation.console_keys
        return "Answers given here would not count: the configuration does not know this console's key. " + key_lines(
            public, known
        )
    return None


def key_lines(public: str, known: Collection[str] = ()) -> str:
    """The lines that make a console's key known, beside those whose names are known: what they signed must go on counting."""
    if not known:
        return f"Add these lines and apply them:\n{console_lines(public)}"
    name = "console" if "console" not in known else f"console-{parse_public(public).keyid[:8]}"
    return f"Add this key beside the others and apply it:\n{console_lines(public, name)}"
