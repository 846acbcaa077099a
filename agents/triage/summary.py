"""The summary that needs no LLM: full sentences with figures, what changed when, and what to do next; fit for a phone.

It is what everybody reads where no model is configured, and what stands where a model's answer fails its checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.events import SignalData, SignalStatus
from agents.policy.reasons import clean
from agents.told_events import Advice, CauseKind, FactData
from agents.triage.causes import Judged, caller, new_version_differs, worst
from agents.triage.facts import BESIDE, cause_name, metric_name, subject, where_of
from agents.triage.facts import judged as judged_signal
from agents.triage.seen import Seen
from agents.triage.words import capital, listed, moment, plural, share

LONGEST = 900
"""Characters of a summary: about two screens of a phone."""
_CAUSE: Mapping[CauseKind, str] = {
    "bias": "One group fares worse than another",
    "data_drift": "The inputs are no longer those that the model was made for",
    "model_change": "The version behaves differently from the one before",
    "misuse": "The model is called by somebody, or at a time, that it is not meant for",
    "data_quality": "What arrives is incomplete or broken",
    "operations": "Something runs differently from usual, rather than deciding differently",
    "attack": "Somebody seems to be trying to steer the model through its input",
    "policy_too_strict": "The rule catches many decisions while no monitor sees anything unusual",
    "single_case": "Single decisions stand out; nothing says that the model as a whole has changed",
    "unknown": "What is known does not point at one cause",
}


_FAULTS: Mapping[str, tuple[str, str]] = {
    "record/malformed": ("cannot be read and was put aside", "cannot be read and were put aside"),
    "record/undeclared": (
        "was put aside, since nobody declared the model",
        "were put aside, since nobody declared the model",
    ),
    "record/conflict": (
        "was withheld, since its id stands for another decision already",
        "were withheld, since their ids stand for other decisions already",
    ),
}
"""What became of records with a fault: of one, and of several."""
_STRANGE: Mapping[str, tuple[str, str, str]] = {
    "model": (
        "A model that nobody declared makes decisions, or the model's name is wrong",
        "Find out who runs it; then declare it, or have it stopped",
        "Who runs this model, and is it meant to decide already?",
    ),
    "version": (
        "A version that nobody declared makes decisions",
        "Ask the owners of {model} whether they rolled it out; then declare it, or have it taken back",
        "Who rolled this version out, and is it meant to decide already?",
    ),
    "id": (
        "The sender used one id for different decisions",
        "Ask who sends the decisions of {model} how their ids are made",
        "Does the sender repeat its ids, or did it change a decision after sending it?",
    ),
}
"""What is strange: what that means, where to look first, and what to ask."""


@dataclass(frozen=True)
class Summary:
    """What reviewers are told."""

    summary: str
    cause_text: str
    action_text: str
    questions: tuple[str, ...]
    cites: tuple[str, ...]


def summarise(seen: Seen, facts: tuple[FactData, ...], judged: Judged) -> Summary:
    """Of one incident; figures stand as they do in the facts, whose ids are cited."""
    used: list[str] = []

    def cited(found: list[FactData]) -> list[FactData]:
        used.extend(one.id for one in found)
        return found

    def cite(kind: str, number: int = 1, *, beside: bool = False) -> list[FactData]:
        return cited([one for one in facts if one.kind == kind and (BESIDE in one.values) == beside][:number])

    signal = worst(seen)
    sentences = [_what(seen, cite("held") + cite("count"))]
    if signal is not None and cite("signal"):
        sentences.append(_signal(seen, signal))
    elif seen.rule is not None:
        sentences += [one.text for one in cite("rule")]
    sentences += [one.text for one in cite("before_after")]
    sentences += [one.text for one in cite("feature")] if judged.cause in ("data_drift", "data_quality") else []
    sentences += _changed(cited(_change(seen, facts)))
    sentences += _beside(seen, cite("signal", 3, beside=True))
    deadline = [one.text for one in cite("deadline")]
    return Summary(
        summary=_fitted(sentences, deadline),
        cause_text=_cause_text(seen, judged, cite("similar", 3)),
        action_text=_action_text(seen, judged),
        questions=_questions(seen, judged),
        cites=tuple(dict.fromkeys(used)),
    )


_CHANGE = "change/"
"""The cause of proposals, and of incidents that tell that an approved one is not in force."""


def _what(seen: Seen, facts: list[FactData]) -> str:
    one, about, since = seen.incident, subject(seen), moment(seen.incident.first_ms)
    name = cause_name(seen)
    if one.proposal is not None:
        return facts[0].text
    if one.held:
        return f"{plural(one.held, 'decision')} of {about} {_be(one.held)} held by {name}, since {since}."
    signal = worst(seen)
    if one.cause in seen.configuration.monitors:
        says = {SignalStatus.ALARM: "raises an alarm", SignalStatus.WARN: "warns"}
        does = says.get(signal.status, "spoke up") if signal is not None else "spoke up"
        return f"The monitor {name} {does} for {about}, first at {since}."
    if one.cause in _FAULTS:
        many = plural(one.count, "decision") + f" of {about}" if one.model else plural(one.count, "record")
        return f"{many} {_FAULTS[one.cause][one.count != 1]} ({name}), first at {since}."
    if seen.rule is not None or one.cause.startswith("record/"):
        did = {"block": "blocked", "log": "let go and flagged"}.get(one.effect.value if one.effect else "", "flagged")
        many = plural(one.count, "decision") + f" of {about}" if one.model else plural(one.count, "record")
        return f"{many} {'was' if one.count == 1 else 'were'} {did} by {name}, first at {since}."
    if one.cause.startswith(_CHANGE):
        return f"A change of the {one.cause.removeprefix(_CHANGE)} was agreed to and could not be put in force, at {since}."
    return f"The fault {name} was reported for {about}, first at {since}."


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _signal(seen: Seen, signal: SignalData) -> str:
    """The signal that speaks for the incident; whose it is was said already."""
    where = where_of(seen, signal)
    who = "" if seen.incident.cause == signal.monitor else f"The monitor {signal.monitor} says: "
    there = f"for {where} " if where and where not in metric_name(signal) else ""
    said = f"{there}the {judged_signal(signal, own_time=seen.own_time, whole=False)}."
    return f"{who}{said}" if who else capital(said)


def _change(seen: Seen, facts: tuple[FactData, ...]) -> list[FactData]:
    """The change that it is most likely about: that its own version is new, else the last one."""
    changes = [one for one in facts if one.kind == "change"]
    own = [one for one in changes if one.source == f"{seen.incident.model}/{seen.incident.version}"]
    return (own or [one for one in changes if one.values.get("what") != "version"] or changes)[-1:]


def _changed(facts: list[FactData]) -> list[str]:
    return [f"What changed: {one.text[:1].lower()}{one.text[1:]}" for one in facts]


def _beside(seen: Seen, facts: list[FactData]) -> list[str]:
    """Which other monitors have something to say; what, their facts tell."""
    names = [str(one.values[BESIDE]) for one in facts]
    if not names:
        return []
    said = {one.values["status"] for one in facts}
    does = "alarm or warn" if len(said) > 1 else str(said.pop())
    what = f"the monitor {names[0]} {does}s" if len(names) == 1 else f"the monitors {listed(names)} {does}"
    return [f"At the same time {what} for {seen.names.shown(seen.incident.model)}."]


def _fitted(sentences: list[str], last: list[str]) -> str:
    """As many whole sentences as fit; the deadline always does."""
    room = LONGEST - sum(len(one) + 1 for one in last)
    told = ""
    for sentence in sentences:
        if len(told) + len(sentence) + 1 > room:
            break
        told = f"{told} {sentence}".strip()
    return " ".join([told or clean(sentences[0], room), *last])


def _cause_text(seen: Seen, judged: Judged, similar: list[FactData]) -> str:
    if seen.incident.proposal is not None:
        return "Somebody's proposal, not a fault."
    strange = _strange(seen)
    told = [strange[0] if strange else _CAUSE[judged.cause]]
    if judged.cause in ("bias", "model_change") and new_version_differs(seen):
        told.append(f"version {seen.names.shown(seen.incident.version)} is new and the other versions are not affected")
    moved = [one for one in seen.beside if seen.kind(one.monitor) == "data_drift"]
    if moved and judged.cause != "data_drift":
        told.append("inputs have moved at the same time, which may be part of it")
    ended = [one.resolution.value for one in seen.similar if one.resolution is not None]
    if similar and ended:
        told.append(f"incidents like it ended {listed(sorted(set(ended)))}")
    return "; ".join(told) + "."


def _action_text(seen: Seen, judged: Judged) -> str:
    one = seen.incident
    if one.proposal is not None:
        return "Read what would change; then approve or reject it."
    if one.cause.startswith(_CHANGE):
        return "Read why it is not in force; mend that, then approve it once more on the command line, or propose it again."
    version = seen.names.shown(one.version)
    model = seen.names.shown(one.model) if one.model else "the model"
    who = seen.names.shown(caller(seen)) if caller(seen) else "the caller"
    whose = f"Ask the owner of {who}"
    if who.startswith("‹"):
        whose = "Find out whose calls these are, since the caller is not a declared one"
    held = f"; then answer the {plural(one.held, 'held decision')}" if one.held else ""
    rule = f"{seen.rule[0].policy}/{seen.rule[1].id}" if seen.rule is not None else "the rule"
    strange = _strange(seen)
    texts: Mapping[Advice, str] = {
        "review_held": _review(one.held),
        "approve_held": "Look at some of the held decisions; incidents like this one were approved.",
        "reject_held": "Look at some of the held decisions; incidents like this one were rejected.",
        "quarantine_version": f"Put version {version} of {model} in quarantine, so that nobody is decided on by it{held}.",
        "fall_back": f"Order the fallback for {model} until the cause is known{held}.",
        "pause_caller": f"{whose}, and pause it if nobody knows of these calls{held}.",
        "fix_data": f"{strange[1].format(model=model)}{held}."
        if strange
        else f"Ask who delivers {'the inputs of ' + model if one.model else 'these records'} what changed, "
        f"and have it mended{held}.",
        "tune_rule": f"Look at a sample; if these decisions are right, loosen {rule} by a proposed change{held}.",
        "investigate": f"{strange[1].format(model=model) if strange else _look(judged.cause, one.model and model)}{held}.",
        "watch": "Nothing is waiting: look again if it grows.",
    }
    return texts[judged.action]


def _strange(seen: Seen) -> tuple[str, str, str] | None:
    """Where it is about a model, a version or an id that should not be there, what to say of that."""
    if seen.incident.cause == "record/undeclared":
        return _STRANGE["model"]
    if seen.incident.cause == "record/conflict":
        return _STRANGE["id"]
    undeclared = seen.rule is not None and "version_declared" in seen.rule[1].when
    return _STRANGE["version"] if undeclared else None


def _review(held: int) -> str:
    if held == 1:
        return "Open the held decision and say whether it may go out."
    some = f"the {plural(held, 'held decision')}" if held <= 5 else f"some of the {plural(held, 'held decision')}"
    return f"Open {some} and say whether they may go out."


def _look(cause: CauseKind, model: str | None) -> str:
    """Where to look first."""
    if model is None:
        return (
            "Look at what the lanes say (`govern status`) and mend what they name"
            if cause == "operations"
            else ("Ask who sends these records whether the model shall be declared")
        )
    by_cause: Mapping[CauseKind, str] = {
        "bias": f"Compare the groups' decisions of {model} and find out what they differ in",
        "data_drift": f"Ask what changed in the inputs of {model} at that time, and whether it lasts",
        "model_change": f"Ask the owners of {model} what changed in it at that time",
        "misuse": f"Find out who makes these calls of {model}, and stop them if nobody knows of them",
        "attack": f"Find out where these requests to {model} come from, and what was answered to others like them",
        "operations": f"Look at what runs before {model}: a roll-out, an outage, a queue that stands still",
    }
    return by_cause.get(cause, f"Find out what changed for {model} at that time; the facts say where to look")


def _questions(seen: Seen, judged: Judged) -> tuple[str, ...]:
    by_cause: Mapping[CauseKind, str] = {
        "bias": "Is there a reason for the difference that would be accepted if it were challenged?",
        "data_drift": "Did something change upstream, in a product or among clients, that explains the inputs?",
        "model_change": "Was the new version meant to decide differently?",
        "misuse": "Does the owner of these calls know of them?",
        "data_quality": "Which system delivers what is missing or broken, and since when?",
        "operations": "Was there maintenance, a roll-out or an outage at that time?",
        "attack": "Is it one caller, and what would the answers have given away?",
        "policy_too_strict": "Of a sample, how many would you have let go?",
        "single_case": "Is the decision right for this one case?",
        "unknown": "What do the opened decisions have in common?",
    }
    if seen.incident.proposal is not None:
        return ("Does it do what its author says, and nothing else?",)
    strange = _strange(seen)
    found = [strange[2] if strange else by_cause[judged.cause]]
    signal = worst(seen)
    if signal is not None and signal.coverage is not None and signal.coverage < 0.8:
        found.append(f"Only {share(signal.coverage)} could be counted: is what is known of the others comparable?")
    if seen.incident.held:
        found.append("Whom does waiting harm, and can it wait until the deadline?")
    return tuple(found)
