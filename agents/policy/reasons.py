"""Reason templates: `{caller} called {model.name} outside {calendar.name}`. Data, never evaluated.

A name in braces stands for a column's value; `{{` and `}}` for braces. What comes out is one line of bounded length
without control characters, safe in headers, flags and terminals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 500  # characters of a rendered reason
LONGEST_VALUE = 120
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{|\}")


class TemplateError(Exception):
    """A template that cannot be read; `offset` counts characters from its start."""

    def __init__(self, problem: str, offset: int, mend: str = "") -> None:
        self.problem, self.offset, self.mend = problem, offset, mend
        super().__init__(problem)


@dataclass(frozen=True)
class Template:
    """A parsed template: texts at even places, column names at odd ones."""

    parts: tuple[str, ...]
    offsets: tuple[int, ...]
    """Where each name stands in the template."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names it uses."""
        return self.parts[1::2]

    def render(self, row: Mapping[str, object]) -> str:
        """The reason for one decision; a null value reads `missing`.

        >>> template("{caller} asked for {features.limit_bal}").render({"caller": "svc", "features.limit_bal": 20000.0})
        'svc asked for 20000'
        """
        told = [part if place % 2 == 0 else shown(row.get(part)) for place, part in enumerate(self.parts)]
        return clean("".join(told), LONGEST)


def template(text: str) -> Template:
    """Parse; raises TemplateError for braces that do not pair."""
    parts, offsets, read, at = [""], [], [], 0
    for token in _TOKEN.finditer(text):
        parts[-1] += text[at : token.start()]
        at = token.end()
        if token[0] in ("{{", "}}"):
            parts[-1] += token[0][0]
        elif token[1] is None:
            raise TemplateError(f"a lone {token[0]!r}", token.start(), f"write {token[0] * 2} for a brace")
        else:
            name = token[1].strip()
            if not name:
                raise TemplateError("empty braces", token.start(), "write a column's name between them")
            offsets.append(token.start() + 1)
            read.append(name)
            parts += [name, ""]
    parts[-1] += text[at:]
    return Template(tuple(parts), tuple(offsets))


def shown(value: object) -> str:
    """A column's value in words.

    >>> shown(20000.0), shown(0.31), shown(None), shown(True)
    ('20000', '0.31', 'missing', 'yes')
    """
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.15g}"
    return clean(str(value), LONGEST_VALUE)


def clean(text: str, longest: int) -> str:
    """One line, no control or formatting characters (they could forge a terminal's or a page's text), cut with `…`.

    >>> clean("a\\nb\\x1b[31m\\u202e c", 20)
    'a b [31m c'
    """
    safe = "".join(" " if unicodedata.category(c) in _UNSAFE else c for c in text[: 4 * longest])
    line = " ".join(safe.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
