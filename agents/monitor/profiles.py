"""A profile: what a model's decisions are compared with, as one document with a digest. Read as data, never unpickled.

Each kind of monitor keeps a section of its own in it (`Monitor.fit`): bins, rates, a surrogate, a calibration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.configuration import Model, canonical
from agents.errors import Misconfigured
from agents.monitor.contract import Monitor, State, View
from agents.monitor.state import packed, unpacked

FORMAT = 1


@dataclass(frozen=True)
class Profile:
    """Reference figures of one model."""

    model: str
    rows: int
    sections: Mapping[str, State]
    """By kind of monitor."""
    version: str | None = None
    """The model version that the reference decisions came from."""
    remarks: Sequence[str] = ()
    """How good it is, in plain words."""
    source: str = ""
    """What it was fitted on."""
    _bytes: bytes = field(default=b"", repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """Canonical bytes: the same profile gives the same ones."""
        if self._bytes:
            return self._bytes
        document = {
            "format": FORMAT,
            "model": self.model,
            "version": self.version,
            "rows": self.rows,
            "source": self.source,
            "remarks": list(self.remarks),
            "sections": {kind: packed(section) for kind, section in self.sections.items()},
        }
        return canonical(document)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the bytes; what a configuration names."""
        return "sha256:" + hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def of_bytes(cls, data: bytes, digest: str | None = None) -> Profile:
        """Read one; raises Misconfigured where it is damaged, of another format, or not what the digest names."""
        if digest is not None and "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise Misconfigured(
                f"the profile's bytes are not those of {digest}; fit it again, or restore it from a copy"
            )
        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise Misconfigured(
                    f"the profile has format {document['format']}, this version reads {FORMAT}: fit it again"
                )
            sections = {kind: unpacked(section) for kind, section in document["sections"].items()}
            return cls(
                document["model"],
                document["rows"],
                sections,
                document["version"],
                tuple(document["remarks"]),
                document["source"],
                data,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Misconfigured(f"the profile is damaged ({error}); fit it again with `govern profile fit`") from error


def fit(
    kinds: Mapping[str, type[Monitor]],
    view: View,
    model: str,
    declaration: Model,
    *,
    version: str | None = None,
    source: str = "",
    whole: View | None = None,
) -> Profile:
    """A profile from reference decisions (a View with every column of the model; one stretch is enough).

    `whole`: decisions of all versions, for kinds of scope `model`, where the view has those of one version only.
    """
    sections: dict[str, State] = {}
    remarks: list[str] = []
    for kind, monitor in kinds.items():
        section, told = monitor.fit(whole if whole is not None and monitor.scope == "model" else view, declaration)
        if section is not None:
            sections[kind] = section
        remarks += [one for one in told if one not in remarks]
    return Profile(model, view.height, sections, version, tuple(remarks), source)
