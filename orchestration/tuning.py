"""Proposals for the configuration on disk, from what people ruled, as a YAML diff.

Nothing is applied: whoever likes a proposal edits the file, or hands the diff to `git apply`, and goes the way of every
change (`govern config check`, `apply` or `propose`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import yaml

from agents.configuration import Configuration
from agents.configuration_yaml import read_configuration
from agents.errors import Misconfigured
from agents.frames import decision_columns
from agents.policy.compilation import models_of
from agents.policy.rules import compiled
from agents.tuning.alarms import ShareProposal, propose_shares
from agents.tuning.judged import about
from agents.tuning.proposing import Proposal, Refused, Terms, propose
from agents.tuning.thresholds import Threshold, plain, thresholds
from orchestration.config_files import files_of
from orchestration.judgements import Gathered
from orchestration.yaml_edit import NotEditable, documents, entry, literal_replaced, rewritten, with_entry


@dataclass(frozen=True)
class Tuned:
    """All that is proposed, and why the rest is not."""

    proposals: Sequence[Proposal | ShareProposal]
    refused: Sequence[Refused]
    diffs: Sequence[str]
    """A unified diff for each proposal; empty where the file does not let itself be changed in place."""
    gathered: Gathered


@dataclass(frozen=True)
class Together:
    """Several proposals as one diff."""

    diff: str
    left: Sequence[str]
    """Rules and monitors of proposals that are not in it."""


def tune(path: Path, configuration: Configuration, gathered: Gathered, terms: Terms) -> Tuned:
    """Proposals for every rule that holds and every monitor, with their diffs against the files at `path`."""
    proposals: list[Proposal | ShareProposal] = []
    refused: list[Refused] = []
    rules = compiled(configuration)
    for policy in configuration.policies:
        models = models_of(configuration, policy)
        for rule in policy.rules:
            if policy.mode == "disabled" or rule.effect.value != "hold" or not models:
                continue
            compiled_rule = rules.rule(f"{policy.policy}/{rule.id}")
            columns = pl.Schema(decision_columns(configuration.models[models[0]]))
            judged = about(gathered.judged, compiled_rule.name, set(models))
            _sort(propose(compiled_rule, columns, judged, terms), proposals, refused)
    shares = {name: float(options.get("share", 1.0)) for name, options in configuration.monitors.items()}
    _sort(propose_shares(gathered.alarms, shares), proposals, refused)
    diffs = [_diff(path, configuration, one) for one in proposals]
    return Tuned(proposals, refused, diffs, gathered)


def _sort(
    found: Sequence[Proposal | ShareProposal | Refused],
    proposals: list[Proposal | ShareProposal],
    refused: list[Refused],
) -> None:
    for one in found:
        if isinstance(one, Refused):
            refused.append(one)
        else:
            proposals.append(one)


# -- the diff ----------------------------------------------------------------------------------------------------------


def together(path: Path, configuration: Configuration, proposals: Sequence[Proposal | ShareProposal]) -> Together:
    """One diff of several proposals: the first of each rule and monitor, since a second one would change the same line."""
    texts = {str(file): file.read_text(encoding="utf-8") for file in files_of(path)}
    before, taken, left = dict(texts), dict[str, None](), list[str]()
    for one in proposals:
        name = name_of(one)
        changed = None if name in taken else _with(texts, configuration, one)
        if changed is None:
            left.append(name)
            continue
        texts, configuration = changed
        taken[name] = None
    return Together("".join(_unified(file, before[file], texts[file]) for file in texts), tuple(left))


def name_of(proposal: Proposal | ShareProposal) -> str:
    """The rule or monitor that it is for."""
    return proposal.monitor if isinstance(proposal, ShareProposal) else proposal.rule


def _diff(path: Path, configuration: Configuration, proposal: Proposal | ShareProposal) -> str:
    """A unified diff of the one file that the proposal changes; empty where that cannot be done in place."""
    return together(path, configuration, [proposal]).diff


def _with(
    texts: Mapping[str, str], configuration: Configuration, proposal: Proposal | ShareProposal
) -> tuple[dict[str, str], Configuration] | None:
    """The files with the proposal's change made, and what they then say; None where that cannot be done in place."""
    for file, text in texts.items():
        try:
            changed = _changed(text, proposal)
        except NotEditable:
            return None
        if changed is None:
            continue
        after = {**texts, file: changed}
        found = read_configuration(after.items())
        return (after, found) if _is_meant(found, configuration, proposal) else None
    return None


def _unified(file: str, before: str, after: str) -> str:
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, fromfile=f"a/{file}", tofile=f"b/{file}", n=2))


def _changed(text: str, proposal: Proposal | ShareProposal) -> str | None:
    """The file with the change made; None where the file does not hold what is to be changed."""
    for document in documents(text):
        if isinstance(proposal, ShareProposal):
            node = entry(entry(document, "monitors"), proposal.monitor)
            if node is not None:
                return with_entry(text, node, "share", plain(proposal.after))
            continue
        policies = (
            [document] if entry(document, "policy") is not None else getattr(entry(document, "policies"), "value", [])
        )
        for policy in policies:
            for rule in getattr(entry(policy, "rules"), "value", []):
                names = [getattr(entry(*place), "value", None) for place in ((policy, "policy"), (rule, "id"))]
                if "/".join(map(str, names)) == proposal.rule:
                    return _rule_changed(text, rule, proposal)
    return None


def _rule_changed(text: str, rule: yaml.Node, proposal: Proposal) -> str:
    if proposal.kind == "log":
        return rewritten(text, entry(rule, "effect"), lambda _: "log")
    old, new = _moved(proposal)
    number = plain(new.number)
    return rewritten(
        text, entry(rule, "when"), lambda raw: literal_replaced(raw, proposal.before, old.start, old.end, number)
    )


def _moved(proposal: Proposal) -> tuple[Threshold, Threshold]:
    """The one number that a proposal changes, before and after."""
    pairs = zip(thresholds(proposal.before), thresholds(proposal.after), strict=True)
    return next((old, new) for old, new in pairs if old.number != new.number)


def _is_meant(changed: Configuration, before: Configuration, proposal: Proposal | ShareProposal) -> bool:
    """Whether the changed files differ from what stood in exactly what is proposed."""
    document = before.model_dump(mode="json", by_alias=True)
    if isinstance(proposal, ShareProposal):
        document["monitors"][proposal.monitor]["share"] = proposal.after
    else:
        name, _, rule_id = proposal.rule.rpartition("/")
        policy = next(one for one in document["policies"] if one["policy"] == name)
        rule = next(one for one in policy["rules"] if one["id"] == rule_id)
        rule |= {"effect": "log"} if proposal.kind == "log" else {"when": proposal.after}
    try:
        return Configuration.model_validate(document).digest() == changed.digest()
    except Misconfigured:
        return False
