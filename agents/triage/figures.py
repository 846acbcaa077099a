"""Every number, date and id that a text states, however it is written: what a model says is held to what the facts display.

Thousands separators, percentages and shares of one, ranges, multipliers (`3x`, `1.2 million`, `10k`), digits of any script,
fractions, words (`twenty-five`, `twice`, `half`) and Roman numerals are read. What looks like a number and is none of these
counts as an id, which must occur as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from agents.triage.fields import PLACEHOLDER

_UNDER_20 = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNITS = {word: value for value, word in enumerate(_UNDER_20)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 10**9, "trillion": 10**12}
_SCALES |= {f"{name}s": scale for name, scale in _SCALES.items()}
_ALONE = {
    "twice": "2", "thrice": "3", "double": "2", "doubled": "2", "doubling": "2", "triple": "3", "tripled": "3",
    "quadruple": "4", "quadrupled": "4", "tenfold": "10", "twofold": "2", "threefold": "3", "fourfold": "4",
    "fivefold": "5", "hundredfold": "100", "dozen": "12", "dozens": "12", "half": "0.5", "halved": "0.5",
    "quarter": "0.25", "quarters": "0.25", "thirds": "0.3333", "fifth": "0.2", "fifths": "0.2", "sixth": "0.1667",
    "seventh": "0.1429", "eighth": "0.125", "ninth": "0.1111", "tenth": "0.1", "tenths": "0.1", "hundredth": "0.01",
}  # fmt: skip
_ELSEWHERE = {
    "zwei": 2, "drei": 3, "vier": 4, "fuenf": 5, "sechs": 6, "sieben": 7, "acht": 8, "neun": 9, "zehn": 10, "elf": 11,
    "zwanzig": 20, "hundert": 100, "tausend": 1_000, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "sept": 7, "huit": 8,
    "neuf": 9, "dix": 10, "vingt": 20, "cent": 100, "cents": 100, "mille": 1_000, "uno": 1, "dos": 2, "tres": 3,
    "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9, "diez": 10, "veinte": 20, "cien": 100,
    "ciento": 100, "mil": 1_000, "due": 2, "tre": 3, "quattro": 4, "cinque": 5, "sei": 6, "otto": 8, "nove": 9, "dieci": 10,
    "venti": 20, "cento": 100, "dois": 2, "quatro": 4, "sete": 7, "oito": 8, "dez": 10, "vinte": 20, "cem": 100,
}  # fmt: skip
"""Number words of other languages in plain letters; those that are English words of another meaning are told by context."""
_NO_IDS = frozenset({"and/or", "either/or", "e.g", "i.e", "a.m", "p.m"})
_ENGLISH_TOO = frozenset({"due", "elf", "mil", "tre", "dos", "dix", "sept"})
_RUN_ON = re.compile(rf"\b({'|'.join(_TENS)})({'|'.join(_UNDER_20[1:10])})\b")
"""`twentyfive`."""
_FOREIGN = frozenset(_ELSEWHERE) - _ENGLISH_TOO - {"cent", "cents"}
_CHUNK = re.compile(r"[^\s()\[\]{},;\"“”‘’'!?<>=|`~≈≤≥…]+")
_NUMBER = re.compile(
    r"([-+±]?)(\d+(?:\.\d+)?|\.\d+)(?:e([+-]?\d{1,3}))?(%|[x×]|k|m|bn|-?fold|st|nd|rd|th|s|ms|h|d)?", re.IGNORECASE
)
_RANGE = re.compile(r"(?P<one>[-+]?\d+(?:\.\d+)?)(?P<p1>%?)(?:-|\.\.\.?)(?P<two>\d+(?:\.\d+)?)(?P<p2>%?)")
_OF_WORD = re.compile(r"(\d+(?:\.\d+)?)-([a-z]+)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}:\d{2}(:\d{2})?")
_ROMAN = re.compile(r"(?=[MDCLXVI]{2})M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_SUFFIX = {"k": 1_000, "m": 1_000_000, "bn": 10**9}
_PERCENT = ("%", "percent", "pct")
_ID = re.compile(r"[A-Za-z0-9]*[/_@#\\:][A-Za-z0-9]|[A-Za-z]\.[A-Za-z]")


@dataclass(frozen=True)
class Figures:
    """What texts state."""

    numbers: frozenset[tuple[Decimal, bool]]
    """Value, and whether it is a percentage."""
    ids: frozenset[str]
    """Names with digits or marks in them, dates, times."""

    def has(self, value: Decimal, percent: bool) -> bool:
        """Whether the number is among them, a percentage also as a share of one and the other way round."""
        if (value, percent) in self.numbers:
            return True
        other = value / 100 if percent else value * 100
        return (other.normalize(), not percent) in self.numbers


def figures(texts: Iterable[str]) -> Figures:
    """What the facts display. Figures of a text that is not shown are its sender's, and are none of them."""
    numbers: set[tuple[Decimal, bool]] = set()
    ids: set[str] = set()
    for text in texts:
        for kind, written, value, percent in stated(PLACEHOLDER.sub(" ", text)):
            if kind == "number":
                numbers.add((value, percent))
            else:
                ids |= {written, *(part for part in re.split(r"[/.]", written) if part and not part.isdigit())}
    return Figures(frozenset(numbers), frozenset(ids))


def unknown(text: str, facts: Figures) -> tuple[list[str], list[str]]:
    """Numbers and ids of a text that the facts do not display, as they are written.

    >>> facts = figures(["412 decisions of version 2.2.0, ratio 0.62 (0.55 to 0.70), 12.5 % of them, on 2026-03-02"])
    >>> unknown("Twelve of 412 (12.5%) fell to 0.620 in version 2.2.1; a third since 2026-03-03.", facts)
    (['Twelve', 'third'], ['2.2.1', '2026-03-03'])
    """
    numbers, ids = [], []
    for kind, written, value, percent in stated(text):
        if kind == "number":
            if not facts.has(value, percent):
                numbers.append(written)
        elif written not in facts.ids:
            ids.append(written)
    return numbers, ids


Stated = tuple[str, str, Decimal, bool]
"""`number` or `id`, as written, its value, whether it is a percentage."""


def stated(text: str) -> Iterator[Stated]:
    """Everything a text states, in its order."""
    chunks = [found.rstrip(".:-–—*").lstrip(":-–—*") for found in _CHUNK.findall(plain_digits(text))]
    chunks = [chunk for chunk in chunks if chunk]
    at = 0
    while at < len(chunks):
        taken, found = _at(chunks, at)
        yield from found
        at += max(taken, 1)


def plain_digits(text: str) -> str:
    """With ASCII digits, points for decimals and no separators of thousands; `10¹⁵` as `10^15`."""
    text = re.sub(r"[⁰¹²³⁴-⁹]+", lambda found: "^" + unicodedata.normalize("NFKC", found[0]), text)
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2044", "/")
    text = "".join(_digit(c) for c in text)
    text = re.sub(r"(?<=\d)[,'’](?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d)\s*[–—]\s*(?=\d)", "-", text)
    return re.sub(r"(?<=\d)\s+%", "%", text)


def _digit(c: str) -> str:
    if c.isascii():
        return c
    value = unicodedata.digit(c, None)
    if value is not None:
        return str(value)
    number = unicodedata.numeric(c, None)
    return f" {number:g} " if number is not None else c


def _at(chunks: Sequence[str], at: int) -> tuple[int, list[Stated]]:
    """What begins at a chunk, and how many chunks it takes."""
    chunk = chunks[at]
    if not any(c.isdigit() for c in chunk):
        return _words(chunks, at)
    if _DATE.fullmatch(chunk):
        return 1, [("id", chunk, Decimal(0), False)]
    if found := _NUMBER.fullmatch(chunk):
        return _number(chunks, at, found)
    if found := _RANGE.fullmatch(chunk):
        percent = bool(found["p1"] or found["p2"]) or _next(chunks, at) in _PERCENT
        return 1, [("number", chunk, Decimal(found[one]).copy_abs().normalize(), percent) for one in ("one", "two")]
    if found := _OF_WORD.fullmatch(chunk):
        return 1, [("number", chunk, Decimal(found[1]).normalize(), False)]
    return 1, [("id", chunk, Decimal(0), False)]


def _number(chunks: Sequence[str], at: int, found: re.Match[str]) -> tuple[int, list[Stated]]:
    chunk, taken = chunks[at], 1
    value = Decimal(found[2]) * (Decimal(10) ** int(found[3] or 0))
    suffix = (found[4] or "").lower()
    value *= _SUFFIX.get(suffix, 1)
    percent = suffix == "%"
    following = _next(chunks, at)
    if following in _SCALES:
        value, taken = value * _SCALES[following], 2
    elif following in _PERCENT or (following == "per" and _next(chunks, at + 1) == "cent"):
        percent, taken = True, 3 if following == "per" else 2
    elif following in ("to", "and") and not percent:  # `12.5 to 14.2 %`: both are percentages
        other = _NUMBER.fullmatch(chunks[at + 2]) if at + 2 < len(chunks) else None
        after = _next(chunks, at + 2) if other else ""
        percent = bool(other) and ((other is not None and other[4] == "%") or after in _PERCENT)
    return taken, [("number", chunk, value.normalize(), percent)]


def _words(chunks: Sequence[str], at: int) -> tuple[int, list[Stated]]:
    chunk, word = chunks[at], chunks[at].lower()
    run: list[str] = []
    taken = 0
    while at + taken < len(chunks):
        parts = _RUN_ON.sub(r"\1-\2", chunks[at + taken].lower()).split("-")
        joined = bool(run) and parts == ["and"] and _is_number(_next(chunks, at + taken))
        if not joined and not all(_is_number(part) for part in parts):
            break
        run += [] if joined else parts
        taken += 1
    if run and run != ["one"]:
        following = chunks[at + taken].lower() if at + taken < len(chunks) else ""
        percent = following in _PERCENT or (following == "per" and _next(chunks, at + taken) == "cent")
        return taken, [("number", " ".join(chunks[at : at + taken]), _value(run), percent)]
    if run:  # `one` alone counts nothing, unless it is a share
        following = _next(chunks, at)
        return 1, [("number", chunk, Decimal(1), following in _PERCENT)] if following in (
            *_PERCENT,
            "in",
            "out",
        ) else []
    if "-" in word and (found := _hyphened(chunk)):
        return 1, [found]
    if word in _ALONE:
        return 1, [("number", chunk, Decimal(_ALONE[word]).normalize(), False)]
    if word == "third" and at and (chunks[at - 1].lower() in ("a", "one") or _is_number(chunks[at - 1].lower())):
        return 1, [("number", chunk, Decimal("0.3333"), False)]
    if (
        word in _ELSEWHERE
        and word not in _ENGLISH_TOO
        and not (word == "cent" and at and chunks[at - 1].lower() == "per")
    ):
        return 1, [("number", chunk, Decimal(_ELSEWHERE[word]).normalize(), False)]
    if word not in _NO_IDS and (_ROMAN.fullmatch(chunk) or _ID.search(chunk)):
        return 1, [("id", chunk, Decimal(0), False)]
    return 1, []


def _hyphened(chunk: str) -> Stated | None:
    """What `three-day`, `two-thirds`, `one-in-three` or `vingt-deux` states; of several numbers it must occur as it is."""
    first, *rest = chunk.lower().split("-")
    if first in ("double", "doubled") and rest[0].startswith("check"):
        return None
    values = [_UNITS[part] for part in (first, *rest) if _UNITS.get(part, 0) > 1]
    others = [part for part in (first, *rest) if part in _SCALES or part in _ALONE or part in _FOREIGN]
    if others or len(values) > 1 or "third" in rest:
        return "id", chunk, Decimal(0), False
    return ("number", chunk, Decimal(values[0]).normalize(), False) if values else None


def _is_number(word: str) -> bool:
    return word in _UNITS or word in _SCALES


def _next(chunks: Sequence[str], at: int) -> str:
    return chunks[at + 1].lower() if at + 1 < len(chunks) else ""


def _value(run: Sequence[str]) -> Decimal:
    """`two hundred five thousand` and the like."""
    total, part = 0, 0
    for word in run:
        if word in _UNITS:
            part += _UNITS[word]
        elif _SCALES[word] == 100:
            part = max(part, 1) * 100
        else:
            total, part = total + max(part, 1) * _SCALES[word], 0
    return Decimal(total + part).normalize()
