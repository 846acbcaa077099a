"""Past incidents like a new one, with how they ended: TF-IDF over the words that describe an incident, deterministic.

Words are structured (`cause:…`, `kind:…`), not prose, so likeness speaks of what happened and not of how it was put.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sklearn.feature_extraction.text import TfidfVectorizer

from agents.people_events import Resolution
from agents.told_events import Similar
from agents.triage.seen import Seen

MOST = 300
"""Past incidents that are remembered; the oldest go first."""
LEAST = 0.2
"""Incidents less alike than this are not worth a reviewer's time."""


@dataclass(frozen=True)
class Past:
    """An incident that ended."""

    words: str
    title: str
    resolution: str | None
    reason: str = ""
    team: str | None = None

    def plain(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "words": self.words,
            "title": self.title,
            "resolution": self.resolution,
            "reason": self.reason,
            "team": self.team,
        }


@dataclass
class Memory:
    """The incidents that ended, by id, oldest first."""

    past: dict[str, Past] = field(default_factory=dict)
    _fitted: tuple[TfidfVectorizer, Any] | None = None

    @classmethod
    def restored(cls, plain: Mapping[str, Mapping[str, Any]]) -> Self:
        """From a snapshot."""
        return cls({incident: Past(**one) for incident, one in plain.items()})

    def plain(self) -> dict[str, dict[str, Any]]:
        """For a snapshot."""
        return {incident: one.plain() for incident, one in self.past.items()}

    def remember(self, incident: str, one: Past) -> None:
        """Keep it; an incident that is there is replaced."""
        self.past.pop(incident, None)
        self.past[incident] = one
        while len(self.past) > MOST:
            del self.past[next(iter(self.past))]
        self._fitted = None

    def like(self, words: str, most: int, but: str = "") -> tuple[Similar, ...]:
        """The incidents most alike, the likeliest first, the newer first among equals; likeness to three digits."""
        if not self.past or most <= 0 or not words:
            return ()
        if self._fitted is None:
            vectorizer = TfidfVectorizer(analyzer=str.split, sublinear_tf=True)
            self._fitted = vectorizer, vectorizer.fit_transform(one.words for one in self.past.values())
        vectorizer, matrix = self._fitted
        cosines = (matrix @ vectorizer.transform([words]).T).toarray()[:, 0]
        names = list(self.past)
        rated = [(round(float(min(cosines[at], 1.0)), 3), at) for at in range(len(names)) if names[at] != but]
        best = sorted(((likeness, at) for likeness, at in rated if likeness >= LEAST), reverse=True)[:most]
        return tuple(self._similar(names[at], likeness) for likeness, at in best)

    def _similar(self, incident: str, likeness: float) -> Similar:
        one = self.past[incident]
        resolution = Resolution(one.resolution) if one.resolution else None
        return Similar(incident=incident, likeness=likeness, title=one.title, resolution=resolution, reason=one.reason)

    def teams(self, found: Iterable[Similar]) -> list[str]:
        """Who answered such incidents, the likeliest first."""
        return [team for one in found if (past := self.past.get(one.incident)) and (team := past.team)]


def words(seen: Seen) -> str:
    """What an incident is about, as words to compare by.

    The cause and what is wrong weigh more than where: each stands in several words.
    """
    one = seen.incident
    found = [f"cause:{one.cause}", f"policy:{one.cause.partition('/')[0]}", f"model:{one.model}"]
    found += [f"version:{one.model}@{one.version}"] if one.version else []
    found += [f"segment:{_word(one.segment)}"] if one.segment else []
    found += [f"effect:{one.effect.value}"] if one.effect else []
    for monitor in seen.monitors:
        found += [f"monitor:{monitor}", f"kind:{seen.kind(monitor)}"]
    for signal in seen.about[:3]:
        found += [f"metric:{signal.metric}", f"status:{signal.status.value}"]
        found += [f"group:{_word(signal.group)}"] if signal.group else []
    found += [f"kind:{seen.kind(signal.monitor)}" for signal in seen.beside[:3]]
    return " ".join(_word(one) for one in found)[:600]


def _word(text: str) -> str:
    return "_".join(text.lower().split())[:100]
