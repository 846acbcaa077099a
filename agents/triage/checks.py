"""What a model's answer must pass before a person sees any of it; one that fails anything is not shown.

Enums in the form are the first fence, and these checks do not rely on it. A check says what failed without repeating the
answer's text, because what it says goes into records and into the request for a repair.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.events import Severity
from agents.told_events import Advice, CauseKind, Check, TriageData
from agents.triage.answer import (
    LONGEST_SUMMARY,
    LONGEST_TEXT,
    MOST_CITES,
    MOST_QUESTIONS,
    MOST_TEAMS,
    Form,
    allowed_of,
)
from agents.triage.causes import ORDER
from agents.triage.figures import figures, unknown

ECHO = 5
"""So many words in a row out of untrusted text are a repetition."""
_MARKS = frozenset("–—‘’“”…×±≤≥→·€£§°²³½¼¾\u00a0\u202f")
_MARKUP = re.compile(r"[<>`\\{}|~^]|\*\*|__|\]\s*\(|&[#a-z0-9]+;|^\s*(#|>|- |\* )", re.IGNORECASE | re.MULTILINE)
_LINK = re.compile(
    r"://|\bwww\.|\bmailto:|\bjavascript:|\bdata:|\b[\w-]+\.(com|net|org|io|dev|app|info|biz|xyz|ru|cn|de|uk|eu|tk)\b|\w@\w",
    re.IGNORECASE,
)
_DONE = r"(releas|approv|withheld|withh|reject|resolv|clos|unblock|quarantin|paus|dismiss|cancel|escalat|lift|disabl)"
_BE = r"(was|were|is|are|been|being|be|has|have|had|got|get|already|now|automatically|successfully)"
_RELEASED = re.compile(
    rf"\b{_BE}\s+(\w+\s+){{0,3}}?{_DONE}\w*ed\b"
    rf"|\b{_BE}\s+(\w+\s+){{0,3}}?(withheld|let\s+(go|out|through)|sent\s+out|gone\s+out)\b"
    rf"|\b(i|we|system|assistant)\s+(have\s+|has\s+)?(\w+\s+)?({_DONE}\w*ed|withheld)\b"
    r"|^\s*(released|approved|resolved|closed|rejected|withheld)\b",
    re.IGNORECASE | re.MULTILINE,
)
_LET_GO = re.compile(
    r"\b(approv(e|es|ed|ing)|(?<!the )(?<!a )(?<!new )(?<!this )releas(e|es|ed|ing)|unblock\w*|wave\w*\s+through|"
    r"let\s+(it|them|all|everything|these|those|the\s+\w+)(\s+\w+)?\s+(go|out|through)|allow\s+(it|them|all|the))\b",
    re.IGNORECASE,
)
_NOT_YET = re.compile(r"\b(before|whether|not|never|don.t|until|without)\s+(\w+\s+)?$", re.IGNORECASE)
_LULL = re.compile(
    r"\b(ignor\w+|disregard\w*|false\s+(alarm|positive)s?|no\s+(need|reason|cause)\s+(to|for)|nothing\s+to\s+(worry|review|see|do)|"
    r"not?\s+(an?\s+)?(issue|problem|concern)s?\b|no\s+action|harmless|safe\s+to|can\s+be\s+(closed|ignored|released|approved)|"
    r"skip\w*\s+(the\s+)?(review|check)s?|without\s+(review|looking|checking)\w*|all\s+(is\s+)?(well|good|fine|clear)|"
    r"routine|lower(ed)?\s+(the\s+)?severity|downgrad\w+|do\s+not\s+(review|escalate|investigate|worry))\b",
    re.IGNORECASE,
)
_INSTRUCTED = re.compile(
    r"\b(system\s+prompt|previous\s+instructions|as\s+an?\s+(ai|language|assistant)|i\s+am\s+(an?|the)|jailbreak|override|"
    r"you\s+are\s+now|role\s*play|tool[_ ]call|assistant:|system:|user:)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Answer:
    """A filled form as plain values."""

    summary: str
    cause: CauseKind
    cause_text: str
    severity: Severity
    action: Advice
    action_text: str
    teams: tuple[str, ...]
    questions: tuple[str, ...]
    cites: tuple[str, ...]

    @classmethod
    def of(cls, form: Form) -> Answer:
        """From what `answer.fill` gave."""
        given: dict[str, Any] = form.model_dump()
        return cls(
            summary=given["summary"].strip(),
            cause=given["cause"],
            cause_text=given["cause_text"].strip(),
            severity=Severity(given["severity"]),
            action=given["action"],
            action_text=given["action_text"].strip(),
            teams=tuple(dict.fromkeys(given.get("teams", ()))),
            questions=tuple(one.strip() for one in given["questions"] if one.strip()),
            cites=tuple(dict.fromkeys(given["cites"])),
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that people would read."""
        return (self.summary, self.cause_text, self.action_text, *self.questions)


def check(answer: Answer, record: TriageData, untrusted: Sequence[str] = ()) -> tuple[Check, ...]:
    """Every check of one answer to a deterministic record; `untrusted`: what field policies let into the prompt."""
    table: tuple[tuple[str, Callable[[], str]], ...] = (
        ("choices", lambda: _choices(answer, record)),
        ("severity", lambda: _severity(answer, record)),
        ("teams", lambda: _teams(answer, record)),
        ("cites", lambda: _cites(answer, record)),
        ("length", lambda: _length(answer)),
        ("plain text", lambda: _plain(answer, record)),
        ("figures", lambda: _figures(answer, record)),
        ("no claim of a deed", lambda: _claims(answer, record)),
        ("advice", lambda: _advice(answer)),
        ("no echo", lambda: _echo(answer, untrusted)),
    )
    results = [(name, look()) for name, look in table]
    return tuple(Check(check=name, passed=not problem, detail=problem) for name, problem in results)


def _choices(answer: Answer, record: TriageData) -> str:
    allowed = allowed_of(record)
    wrong = [
        name
        for name, good in (("cause", answer.cause in allowed.causes), ("action", answer.action in allowed.actions))
        if not good
    ]
    return f"not open for this incident: {', '.join(wrong)}" if wrong else ""


def _severity(answer: Answer, record: TriageData) -> str:
    step = ORDER.index(answer.severity) - ORDER.index(record.severity)
    if step < 0:
        return f"it is lower than {record.severity.value}; it may only stay or rise"
    if step > 1:
        return f"it is more than one step above {record.severity.value}"
    return "" if answer.severity in allowed_of(record).severities else "it is not open for this incident"


def _teams(answer: Answer, record: TriageData) -> str:
    """Answers name what to add alone, so that none can be removed."""
    if len(answer.teams) > MOST_TEAMS:
        return f"more than {MOST_TEAMS}"
    strange = [team for team in answer.teams if team not in allowed_of(record).teams]
    return f"{len(strange)} of them may not be added" if strange else ""


def _cites(answer: Answer, record: TriageData) -> str:
    known = {one.id for one in record.facts}
    if not answer.cites:
        return "cites no fact"
    if len(answer.cites) > MOST_CITES:
        return f"cites more than {MOST_CITES} facts"
    return "" if set(answer.cites) <= known else "cites facts that there are not"


def _length(answer: Answer) -> str:
    if not 20 <= len(answer.summary) <= LONGEST_SUMMARY:
        return f"the summary has {len(answer.summary)} characters, not 20 to {LONGEST_SUMMARY}"
    if any(len(text) > LONGEST_TEXT for text in answer.texts[1:]):
        return f"a text has more than {LONGEST_TEXT} characters"
    if len(answer.questions) > MOST_QUESTIONS:
        return f"more than {MOST_QUESTIONS} questions"
    return ""


def _plain(answer: Answer, record: TriageData) -> str:
    shown = {c for fact in record.facts for c in fact.text} - set("‹›")
    for text in answer.texts:
        odd = [c for c in text if not (" " <= c <= "~" or c in _MARKS or c in shown)]
        if odd:
            return f"it has a character of the kind {unicodedata.category(odd[0])} that the facts do not have"
        if _MARKUP.search(text):
            return "it has markup"
        if _LINK.search(text):
            return "it has a link or an address"
    return ""


def _figures(answer: Answer, record: TriageData) -> str:
    known = figures([*(fact.text for fact in record.facts), *(fact.id for fact in record.facts), record.incident])
    numbers, ids = [], []
    for text in answer.texts:
        found = unknown(text, known)
        numbers += found[0]
        ids += found[1]
    told = [f"{len(some)} {what}" for some, what in ((numbers, "numbers"), (ids, "ids or dates")) if some]
    return f"{' and '.join(told)} are not displayed in the facts as they are written" if told else ""


def _claims(answer: Answer, record: TriageData) -> str:
    """Nothing is done by a summary. What became of a past incident may be said in a sentence that names it."""
    past = {one.incident for one in record.similar}
    for text in answer.texts:
        for sentence in re.split(r"(?<=[.!?;])\s+", text):
            if _RELEASED.search(sentence) and not any(incident in sentence for incident in past):
                if _facts_say(sentence, record):
                    continue
                return "it says that something was done; say what is known and what to do"
    return ""


def _facts_say(sentence: str, record: TriageData) -> bool:
    """Whether the sentence stands in the facts or the deterministic texts as it is."""
    told = " ".join(_words((*(fact.text for fact in record.facts), record.summary, record.cause_text)))
    return " ".join(_words((sentence,))) in told


def _advice(answer: Answer) -> str:
    """The texts advise nothing that the chosen action does not."""
    for text in answer.texts:
        if _LULL.search(text):
            return "it plays the incident down"
        if _INSTRUCTED.search(text):
            return "it speaks of instructions"
    if answer.action == "approve_held":
        return ""
    for text in answer.texts[:3]:
        for found in _LET_GO.finditer(text):
            if not _NOT_YET.search(text[: found.start()]):
                return "it advises to let decisions go, which is not the chosen action"
    return ""


def _echo(answer: Answer, untrusted: Sequence[str]) -> str:
    runs = set()
    for text in untrusted:
        words = _words((text,))
        runs |= {tuple(words[at : at + ECHO]) for at in range(max(len(words) - ECHO + 1, 1 if len(words) >= 3 else 0))}
    mine = _words(answer.texts)
    for run in runs:
        size = len(run)
        if any(tuple(mine[at : at + size]) == run for at in range(len(mine) - size + 1)):
            return "it repeats text of a decision"
    return ""


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())]
