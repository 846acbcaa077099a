"""One value of a configuration on disk changed where it stands, everything else byte for byte as it was.

Promise to whoever gets the diff: comments, order and layout stay. What cannot be changed so is refused, and the caller
reads the changed text again before it shows anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import yaml


class NotEditable(ValueError):
    """The text does not let itself be changed in place; says why."""


def documents(text: str) -> Iterator[yaml.MappingNode]:
    """The mappings that a file holds, one a YAML document."""
    for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
        if isinstance(node, yaml.MappingNode):
            yield node


def entry(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """The value of a key; None where there is none, or the node is no mapping."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def rewritten(text: str, node: yaml.Node | None, change: Callable[[str], str]) -> str:
    """The text with a scalar written anew by `change`, which gets it as it stands, quotes and folds included.

    Raises NotEditable where the node is no scalar, or `change` cannot do it.
    """
    if not isinstance(node, yaml.ScalarNode):
        raise NotEditable("there is no plain value to change")
    start, end = node.start_mark.index, node.end_mark.index
    return text[:start] + change(text[start:end]) + text[end:]


def with_entry(text: str, node: yaml.Node | None, name: str, value: str) -> str:
    """The text with `name: value` in a mapping: an entry that is there is written anew, else it comes first."""
    there = entry(node, name)
    if there is not None:
        return rewritten(text, there, lambda _: value)
    if not isinstance(node, yaml.MappingNode):
        raise NotEditable("there is no mapping to add to")
    start = node.start_mark.index
    if node.flow_style:
        inside = f"{name}: {value}" + (", " if node.value else "")
        return text[: start + 1] + inside + text[start + 1 :]
    return f"{text[:start]}{name}: {value}\n{' ' * node.start_mark.column}{text[start:]}"


def literal_replaced(raw: str, value: str, start: int, end: int, new: str) -> str:
    """A scalar as it stands, with characters start … end of its value replaced.

    Quoting and folding add white space and marks around the value only, so the n-th visible character of both is the same;
    raises NotEditable where it is not.

    >>> literal_replaced("output.score <\\n  0.7", "output.score < 0.7", 15, 18, "0.65")
    'output.score <\\n  0.65'
    >>> literal_replaced("'output.score < 0.7'", "output.score < 0.7", 15, 18, "0.65")
    "'output.score < 0.65'"
    """
    head = raw.index("\n") if raw[:1] in "|>" else 1 if raw[:1] in "'\"" else 0  # a block's mark and comment, a quote
    visible = [at for at, sign in enumerate(raw) if at >= head and not sign.isspace()]
    wanted = [at for at, sign in enumerate(value) if not sign.isspace()]
    first, last = wanted.index(start), wanted.index(end - 1)
    if last >= len(visible) or raw[visible[first] : visible[last] + 1] != value[start:end]:
        raise NotEditable(f"{value[start:end]!r} is not found where it stands")
    return raw[: visible[first]] + new + raw[visible[last] + 1 :]
