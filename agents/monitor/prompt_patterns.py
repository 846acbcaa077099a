"""Detectors by pattern: phrases of prompt injection, and personal data that has a form.

Patterns are Rust regular expressions (linear in the text, whatever it says); what they find is checked further where the
thing has a checksum. They find what is written plainly: who wants to pass them will, so they measure, and do not protect.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.monitor.contract import Bools
from agents.monitor.prompt_detectors import INJECTION, PERSONAL


@dataclass(frozen=True)
class Pattern:
    """Texts that match an expression and, where there is one, pass a check of what matched."""

    name: str
    family: str
    expression: str
    """Rust syntax that Python's `re` also reads the same way."""
    check: Callable[[str], bool] | None = None

    def find(self, texts: pl.Series) -> Bools:
        found: Bools = texts.str.contains(self.expression).to_numpy().copy()
        if self.check is not None:
            compiled = re.compile(self.expression)
            for row in np.flatnonzero(found):
                found[row] = any(self.check(match.group()) for match in compiled.finditer(str(texts[int(row)])))
        return found


def luhn(text: str) -> bool:
    """True for 13-19 digits whose check digit fits (ISO/IEC 7812-1), not all the same.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(one) for one in text if one.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """True where the checksum fits (ISO 13616: modulo 97 is 1).

    >>> iban("DE89 3704 0044 0532 0130 00"), iban("DE88 3704 0044 0532 0130 00")
    (True, False)
    """
    plain = re.sub(r"[ -]", "", text).upper()
    for end in range(len(plain), 14, -1):  # a word may follow that looks like more of it
        number = "".join(str(int(one, 36)) for one in plain[4:end] + plain[:4])
        if int(number) % 97 == 1:
            return True
    return False


def social_security(text: str) -> bool:
    """True for numbers that the US may issue: area not 000, 666 or 9xx; group not 00; serial not 0000."""
    area, group, serial = re.findall(r"\d+", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def telephone(text: str) -> bool:
    """True for 8-15 digits (E.164) that are no date and no plain decimal number."""
    digits = re.sub(r"\D", "", text)
    dated = re.search(r"(19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./ ]\d\d?[-./ ](19|20)\d\d", text)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2 and not dated


def hidden_text(text: str) -> bool:
    """True where base64 decodes to mostly printable text: words that were to pass unseen, and no picture or digest."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    return len(plain) > 0 and sum(32 <= one < 127 or one in (9, 10, 13) for one in plain) > 0.95 * len(plain)


_OLD = (
    r"(?:all|any|every|the|your|my|our|of|these|those|previous|prior|above|earlier|preceding|initial|original|foregoing|"
    r"system|safety|given)"
)
_RULES = (
    r"(?:instruction|direction|rule|guideline|prompt|command|constraint|restriction|polic(?:y|ies)|programming|guardrail|"
    r"filter)s?"
)
_INNER = (
    r"(?:(?:your|the|its|this)\s+(?:\w+\s+){0,2}?(?:system|hidden|initial|secret|original|internal)\s+"
    r"(?:prompt|messages?|instructions?|rules?|configuration|guidelines)|"
    r"your\s+(?:\w+\s+)?(?:instructions|prompt|rules|guidelines|configuration|programming)\b|"
    r"(?:your|all|any|every|stored|other)\s+(?:\w+\s+){0,3}?(?:api[ _-]?keys?|secret keys?|access tokens?|passwords?|"
    r"credentials|environment variables))"
)

INJECTIONS: Sequence[Pattern] = (
    Pattern(
        "override",
        INJECTION,
        rf"(?i)\b(?:ignore|disregard|forget|override|bypass|overlook|do not follow|don't follow|stop following|skip)\s+"
        rf"(?:{_OLD}\s+){{1,5}}{_RULES}\b",
    ),
    Pattern(
        "new instructions",
        INJECTION,
        r"(?i)(?:\b(?:your|the) (?:new|real|actual|updated|only) (?:instructions?|task|orders?|objective|goal) (?:is|are)\b|"
        r"\bnew (?:system )?(?:instructions?|prompt)\s*:|"
        r"\bfrom now on,? (?:you (?:will|must|are|shall|only)|respond|answer|act|ignore)\b)",
    ),
    Pattern(
        "role override",
        INJECTION,
        r"(?i)(?:\byou are (?:now|no longer) (?:dan\b|an? (?:\w+ )?(?:unrestricted|unfiltered|uncensored|jailbroken|evil|free)|"
        r"in (?:developer|debug|admin|god|sudo|maintenance) mode|bound by|restricted|the (?:admin|system|developer|root))|"
        r"\b(?:enable|enter|activate|switch (?:in)?to) (?:developer|debug|admin|god|dan|jailbreak|unrestricted|sudo) mode\b|"
        r"\bdo anything now\b|"
        r"\b(?:act|behave|respond|pretend|roleplay|answer)\b[^.\n]{0,60}\b(?:without (?:any )?(?:restrictions?|filters?|"
        r"limits?|limitations?|rules|guidelines|censorship)|"
        r"(?:no|unbound by any) (?:restrictions|rules|filters|limitations|guidelines|ethical)))",
    ),
    Pattern(
        "forged turn",
        INJECTION,
        r"(?i)(?:<\|(?:im_start|im_end|system|assistant|endoftext|start_header_id|eot_id)\|>|\[/?(?:INST|SYS)\]|<</?SYS>>|"
        r"</?(?:system|assistant)(?:[_-]?(?:prompt|message))?>|#{2,}\s*(?:system|new instructions?|instruction override)\b|"
        r"\n\s*(?:system|assistant)\s*:\s)",
    ),
    Pattern(
        "exfiltration",
        INJECTION,
        rf"(?i)\b(?:reveal|print|show|display|repeat|output|disclose|leak|dump|expose|recite|tell|give|send|list|"
        rf"what (?:is|are|was|were))\s+(?:\w+\s+){{0,4}}?{_INNER}|"
        r"\b(?:repeat|recite|output|copy)\s+(?:the\s+)?(?:text|words|everything|lines?|content)\s+(?:\w+\s+){0,2}?(?:above|before)\b",
    ),
    Pattern(
        "exfiltration by link",
        INJECTION,
        r"(?i)(?:!\[[^\]]{0,80}\]\(https?://[^)\s]{1,200}[?&][^)\s]{0,40}=[^)\s]{0,200}(?:\{|\[|<|data|secret|prompt|history|context)|"
        r"\b(?:send|post|upload|forward|exfiltrate|transmit)\b[^.\n]{0,60}\b(?:conversation|chat|history|data|context|records?|contents?)\b"
        r"[^.\n]{0,40}\bhttps?://)",
    ),
    Pattern("hidden text", INJECTION, r"[A-Za-z0-9+/]{48,}={0,2}", hidden_text),
)
"""Prompt injection; English, and roughly."""

PERSONAL_DATA: Sequence[Pattern] = (
    Pattern("e-mail", PERSONAL, r"(?i)\b[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}\b"),
    Pattern(
        "telephone",
        PERSONAL,
        r"(?:\+|(?:^|[^\d\s]\s?)00)[1-9]\d{0,2}[ ./-]?(?:\(0?\d{1,4}\)[ ./-]?)?\d{1,5}(?:[ ./-]?\d{2,5}){1,4}\b|"
        r"\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b[2-9]\d{2}[.-][2-9]\d{2}[.-]\d{4}\b|\b0\d{2,4}[ /-]\d{5,8}\b",
        telephone,
    ),
    Pattern("IBAN", PERSONAL, r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", iban),
    Pattern("payment card", PERSONAL, r"\b[3-6]\d{3}(?:[ -]?\d{2,7}){2,4}\b", luhn),
    Pattern("social security number", PERSONAL, r"\b\d{3}-\d{2}-\d{4}\b", social_security),
    Pattern(
        "passport",
        PERSONAL,
        r"(?i)\bpassport\s*(?:no|nr|num|number|#|id)?\.?\s*(?:is|:|=|#)?\s*[a-z]{0,2}\d[a-z0-9]{5,8}\b",
        lambda found: len(re.findall(r"\d", found)) >= 5,
    ),
    Pattern(
        "date of birth",
        PERSONAL,
        r"(?i)\b(?:born(?: on)?|date of birth|birth ?date|dob)\s*(?:is|:|=)?\s*"
        r"(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d|"
        r"\d{1,2}\.? (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* (?:19|20)\d\d)",
    ),
)
"""Personal data that has a form; names and addresses need a model, such as presidio's."""
