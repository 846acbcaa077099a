"""The prompts that ship with the project, with their digests: an answer's record names the prompt that it was given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Prompt:
    """One file of prompts/."""

    text: str
    digest: str
    """`sha256:<hex>` of the file."""


@cache
def prompt(name: str) -> Prompt:
    """`triage` or `repair`; raises FileNotFoundError for another name."""
    data = resources.files("prompts").joinpath(f"{name}.md").read_bytes()
    return Prompt(data.decode(), "sha256:" + hashlib.sha256(data).hexdigest())
