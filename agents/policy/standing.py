"""What stands: the configuration in force, signals, watermarks and safeguards, as folded from their topics.

A Standing is immutable; folding records gives a new one. A record that breaks the contract is refused with a reason for
a flag, and what stood before it stands on; it is never dropped silently. `as_of` counts it all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from agents.configuration import Configuration, canonical
from agents.errors import Misconfigured, Poison
from agents.events import AsOf, ConfigurationEvent, Safeguard, SafeguardData, Severity, Signal, Watermark
from agents.policy.anomalies import Known
from agents.policy.columns import is_of_decision
from agents.policy.compilation import Matched
from agents.policy.past import History, remembered, trimmed
from agents.policy.reasons import LONGEST, clean
from agents.policy.rules import RuleSet, compiled
from agents.policy.surroundings import Circumstances, Told, signal_key
from agents.records import Record, position

TOPICS = ("config", "signals", "safeguards")


class BadStanding(Poison):
    """A record of a standing topic that breaks the contract."""

    reason = "bad-standing"


@dataclass(frozen=True)
class Cause:
    """What a flag says of a reason."""

    severity: Severity
    team: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Standing:
    """What stands between two batches."""

    configuration: Configuration = field(default_factory=Configuration)
    digest: str = ""
    """Of the configuration; empty before one arrived: then nothing may be decided."""
    rules: RuleSet = field(default_factory=lambda: compiled(Configuration()), repr=False)
    as_of: AsOf = field(default_factory=lambda: AsOf(config=0, signals=0, safeguards=0))
    """Next offsets to read of the standing topics."""
    circumstances: Circumstances = field(default_factory=Circumstances)
    memory: Mapping[str, int] = field(default_factory=dict)
    """How far back, in ms, the signals of a monitor are remembered; only those that are."""
    anomalies: Known = field(default_factory=dict, compare=False, repr=False)
    """What scores decisions, for rules that ask (`RuleSet.profiles`), by the profile's digest."""

    @classmethod
    def of(cls, configuration: Configuration, anomalies: Known | None = None) -> Standing:
        """A configuration in force and nothing else; raises Misconfigured where its policies cannot be used."""
        rules = compiled(configuration)
        return cls(configuration, configuration.digest(), rules, memory=rules.memory, anomalies=anomalies or {})

    @property
    def ready(self) -> bool:
        """False before a configuration arrived, and after it was removed."""
        return bool(self.digest)

    @property
    def forgetful(self) -> bool:
        """True where the configuration's rules look further back than what is remembered: read `signals` again (`unread`)."""
        return any(reach > self.memory.get(monitor, 0) for monitor, reach in self.rules.memory.items())

    def unread(self) -> Standing:
        """The same without anything of `signals`, to fold that topic again from its start."""
        around = Circumstances(safeguards=self.circumstances.safeguards)
        as_of = self.as_of.model_copy(update={"signals": 0})
        return replace(self, as_of=as_of, circumstances=around, memory=self.rules.memory)

    def fold(self, topic: str, records: Iterable[Record]) -> tuple[Standing, Sequence[BadStanding]]:
        """Take records of `config`, `signals` or `safeguards` (short name) in offset order.

        Gives the new Standing and the refusals; each names the record's position and what is wrong.
        """
        taken, refused = list(records), list[BadStanding]()
        if not taken:
            return self, refused
        if topic == "config":
            standing = self._configured(taken, refused)
        else:
            take, now = _TAKES[topic], self.circumstances
            past, memory = dict(now.past), self.memory
            changed = _Changing(dict(now.signals), dict(now.watermarks), dict(now.safeguards), past, memory)
            for record in taken:
                try:
                    take(changed, record)
                except BadStanding as error:
                    refused.append(error)
            around = Circumstances(changed.signals, changed.watermarks, changed.safeguards, past)
            standing = replace(self, circumstances=around)
        as_of = standing.as_of.model_copy(update={topic: taken[-1].offset + 1})
        return replace(standing, as_of=as_of), refused

    def _configured(self, records: Sequence[Record], refused: list[BadStanding]) -> Standing:
        """The newest usable configuration decides; those before it need not even be read."""
        for record in reversed(records):
            try:
                return _reminded(_configuration(self, record))
            except BadStanding as error:
                refused.append(error)
        return self

    def render(self, matched: Matched, row: Mapping[str, object]) -> str:
        """The reason in words, for one decision given by its columns (`Reader.row`)."""
        if matched.rule.startswith("safeguard/"):
            order = self.circumstances.safeguards.get(matched.rule.removeprefix("safeguard/"))
            told = clean(order.reason, LONGEST) if order else ""
            return told or f"{matched.rule} is in force"
        parsed = self.rules.rule(matched.rule).reason
        values = {**row, **self.around(row, [name for name in parsed.columns if not is_of_decision(name)])}
        if matched.outcome == "matched":
            return parsed.render(values)
        return clean(f"could not be evaluated ({self._nulls(matched, row)}): {parsed.render(values)}", LONGEST)

    def cause(self, matched: Matched) -> Cause:
        """Severity, team and labels for a flag."""
        if matched.rule.startswith("safeguard/"):
            return Cause(Severity.WARNING, None, {})
        rule = self.rules.rule(matched.rule).rule
        return Cause(rule.severity, rule.team, rule.labels)

    def around(self, row: Mapping[str, object], wanted: Sequence[str]) -> dict[str, object]:
        """Signals, safeguards and calendar columns for one decision given by its columns."""
        if not wanted:
            return {}
        model = self.declared(str(row["model.name"]))
        time = row["event_time_ms" if self.configuration.models[model].clock == "event" else "broker_time_ms"]
        assert isinstance(time, int), "a decision's times are always known"
        return self.rules.around(model, row, time, self, wanted)

    def declared(self, model: str) -> str:
        """The declaration that governs decisions of a model: its own, or the catch-all; raises Misconfigured."""
        if model in self.configuration.models:
            return model
        if self.configuration.undeclared is None:
            raise Misconfigured(f"model {model!r} is not declared; add it to models.yaml")
        return self.configuration.undeclared

    def _nulls(self, matched: Matched, row: Mapping[str, object]) -> str:
        model = self.declared(str(row["model.name"]))
        used = next((one.columns for one in self.rules.rules(model) if one.name == matched.rule), frozenset())
        values = {**row, **self.around(row, [name for name in sorted(used) if not is_of_decision(name)])}
        missing = [name for name in sorted(used) if values.get(name) is None]
        return f"missing: {', '.join(missing)}" if missing else "a result is undefined"


@dataclass(frozen=True)
class _Changing:
    """Copies to change while one batch of records is folded."""

    signals: dict[str, Told]
    watermarks: dict[str, tuple[float, int]]
    safeguards: dict[str, SafeguardData]
    past: dict[str, History]
    memory: Mapping[str, int]


def _reminded(standing: Standing) -> Standing:
    """With a memory for what the configuration's rules look back at; what was let go before stays so (`forgetful`).

    What it remembers beyond that goes at once, so that answers do not depend on what was in force before.
    """
    wanted, now = standing.rules.memory, standing.circumstances
    if not standing.as_of.signals:
        return replace(standing, memory=wanted)
    memory = {
        monitor: min(reach, standing.memory[monitor]) for monitor, reach in wanted.items() if monitor in standing.memory
    }
    kept = {key: (history, memory.get(_monitor(key), 0)) for key, history in now.past.items()}
    past = {key: trimmed(history, reach) for key, (history, reach) in kept.items() if reach}
    return replace(standing, memory=memory, circumstances=replace(now, past=past))


def _configuration(standing: Standing, record: Record) -> Standing:
    if _key(record) != "current":
        raise _refuse(record, "its key is not `current`")
    if record.value is None:
        return replace(standing, configuration=Configuration(), digest="", rules=compiled(Configuration()))
    try:
        data = ConfigurationEvent.model_validate_json(record.value).data
        configuration = Configuration.model_validate(data.document)
        digest = configuration.digest()
        if data.digest != digest or canonical(data.document) != canonical(configuration.document()):
            raise _refuse(record, f"its digest is {data.digest}, its document's {digest}")
        return replace(standing, configuration=configuration, digest=digest, rules=compiled(configuration))
    except (ValidationError, ValueError) as error:
        raise _refuse(record, _told(error)) from error
    except Misconfigured as error:
        raise _refuse(record, str(error)) from error


def _signal(taken: _Changing, record: Record) -> None:
    key = _key(record)
    if key.startswith('["watermark",'):
        _watermark(taken.watermarks, key, record)
        return
    if record.value is None:
        if taken.signals.pop(key, None) is not None and key in taken.past:
            _remember(taken, key, None, record)
        return
    try:
        data = Signal.model_validate_json(record.value).data
    except ValidationError as error:
        raise _refuse(record, _told(error)) from error
    if signal_key(data) != key:
        raise _refuse(record, f"its key {key} is not that of its content, {signal_key(data)}")
    told = taken.signals[key] = Told(data, record.timestamp)
    if data.monitor in taken.memory:
        _remember(taken, key, told, record)


def _remember(taken: _Changing, key: str, told: Told | None, record: Record) -> None:
    reach = taken.memory[_monitor(key)]
    taken.past[key] = remembered(taken.past.get(key, ()), told, record.timestamp, reach)


def _monitor(key: str) -> str:
    """The monitor in the key of a signal that was taken."""
    return str(json.loads(key)[2])


def _watermark(watermarks: dict[str, tuple[float, int]], key: str, record: Record) -> None:
    try:
        _, model = json.loads(key)
        if record.value is None:
            watermarks.pop(model, None)
            return
        data = Watermark.model_validate_json(record.value).data
    except (ValidationError, ValueError) as error:
        raise _refuse(record, _told(error)) from error
    if data.model != model:
        raise _refuse(record, f"its key {key} is not that of its content, model {data.model}")
    watermarks[model] = (data.lag_ms, record.timestamp)


def _safeguard(taken: _Changing, record: Record) -> None:
    key = _key(record)
    if not key or key != clean(key, 256):
        raise _refuse(record, "its key, the safeguard's id, is empty or not plain text")
    if record.value is None:
        taken.safeguards.pop(key, None)
        return
    try:
        data = Safeguard.model_validate_json(record.value).data
    except ValidationError as error:
        raise _refuse(record, _told(error)) from error
    if data.kind == "pause_caller" and data.caller is None:
        raise _refuse(record, "it pauses a caller but names none")
    taken.safeguards[key] = data


_TAKES = {"signals": _signal, "safeguards": _safeguard}


def _key(record: Record) -> str:
    return (record.key or b"").decode(errors="replace")


def _refuse(record: Record, problem: str) -> BadStanding:
    return BadStanding(f"{position(record)} is refused: {problem}")


def _told(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"
    return str(error)
