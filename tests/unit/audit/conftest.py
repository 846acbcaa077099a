"""An operator who writes evidence as the audit lanes do: records in, files, checkpoints and the root log out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agents.audit.agent import audit, origin
from agents.audit.commitment import Committer
from agents.audit.notes import Signer
from agents.audit.tiles import LogState
from agents.records import Header, Plain
from orchestration.log_store import LogStore

SEED = bytes(range(32))
SALTS = Committer("gim-test", b"s" * 32)


@dataclass
class Operator:
    """Writes one tenant's evidence under a folder."""

    folder: Path
    signer: Signer = field(default_factory=lambda: Signer("gim", SEED))
    states: dict[str, LogState] = field(default_factory=dict)
    published: list[Plain] = field(default_factory=list)
    """The records of `checkpoints` that the root log has not taken yet."""
    offset: int = 0

    @property
    def key(self) -> str:
        return str(self.signer.verifier)

    def append(self, topic: str, partition: int, records: Sequence[Plain]) -> bytes:
        """Audit records; the signed checkpoint, which also goes to the topic of checkpoints."""
        log = origin("gim", topic, partition)
        step = audit(self.states.get(log, LogState(log)), records)
        store = LogStore(str(self.folder))
        store.write(step.files)
        note = self.signer.sign(step.text)
        store.write_checkpoint(note)
        self.states[log] = step.state
        self.offset += 2  # a transaction's marker takes an offset as well
        self.published.append(Plain("gim.checkpoints", 0, self.offset, 1_700_000_000_000, log.encode(), note))
        return note

    def close(self) -> bytes:
        """The root log takes what was published; its signed checkpoint."""
        records, self.published = self.published, []
        return self.append("checkpoints", 0, records)


def verdict(
    offset: int,
    *,
    seq: int | None = None,
    partition: int = 0,
    writer: str = "gim-policy-gim.decisions-0",
    at: int | None = None,
    decision: int | None = None,
    stage: str = "gate",
    extra: str = "",
    headers: Sequence[Header] = (),
) -> Plain:
    """A verdict about decision `decision` (default: of the same offset), numbered `seq`."""
    decision = offset if decision is None else decision
    position = f"gim.decisions/{partition}/{decision}"
    value = {
        "specversion": "1.0",
        "type": "governance.verdict.v1",
        "source": "/govern/gim/policy",
        "id": f"{position}/{stage}",
        "data": {
            "decision": {"topic": "gim.decisions", "partition": partition, "offset": decision},
            "effect": "allow",
            "commitment": {"alg": "sha256", "key": SALTS.key_id, "value": SALTS.value(position, *decided(decision))},
            "note": extra,
        },
    }
    numbered: list[Header] = [
        ("govern-seq", str(offset if seq is None else seq).encode()),
        ("govern-writer", writer.encode()),
    ]
    time = 1_700_000_000_000 + offset
    return Plain(
        "gim.verdicts",
        partition,
        offset if at is None else at,
        time,
        position.encode(),
        json.dumps(value).encode(),
        [*numbered, *headers],
    )


def decided(offset: int) -> tuple[bytes | None, list[Header], bytes | None]:
    """Key, headers and value of the decision at an offset."""
    key = None if offset % 3 == 0 else f"client-{offset}".encode()
    headers: list[Header] = [("traceparent", b"00-1-2-03"), ("empty", b""), ("null", None)][: offset % 4]
    return key, headers, json.dumps({"score": offset / 1000}).encode()


def plain(
    topic: str, offset: int, key: bytes | None = b"k", value: bytes | None = b"{}", headers: Sequence[Header] = ()
) -> Plain:
    """A record of another evidence topic."""
    return Plain(f"gim.{topic}", 0, offset, 1_700_000_000_000 + offset, key, value, headers)


def write_small_store(folder: Path) -> Operator:
    """Four logs: verdicts of partition 0 (270 leaves, two of them with blobs) and 1, config, root."""
    operator = Operator(folder)
    verdicts = [verdict(offset) for offset in range(270)]
    verdicts[17] = verdict(17, extra="x" * 70_000)
    verdicts[260] = verdict(260, extra="y" * 66_000, headers=[("large", b"z" * 66_000)])
    operator.append("verdicts", 0, verdicts[:100])
    operator.append("config", 0, [plain("config", 3, b"current"), plain("config", 9, b"current", b'{"a":1}')])
    operator.append("verdicts", 0, verdicts[100:258])
    operator.close()
    operator.append("verdicts", 1, [verdict(offset, partition=1, seq=offset - 5) for offset in range(5, 12)])
    operator.append("config", 0, [plain("config", 11, None, None, [("h", None), ("h", b"")])])
    operator.append("verdicts", 0, verdicts[258:])
    operator.close()
    return operator


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """A fresh operator with an empty store."""
    return Operator(tmp_path / "evidence")


@pytest.fixture
def small(tmp_path: Path) -> Operator:
    """An operator whose store is written."""
    return write_small_store(tmp_path / "evidence")
