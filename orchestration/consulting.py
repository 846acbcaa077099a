"""One consultation: a model is asked about an incident, its answer checked, mended once, and told with its evidence.

Whatever the model does, what comes back is a record that may be shown: its checked answer, or the deterministic one and why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from agents.told_events import Check, TriageData, Usage
from agents.triage.answer import Form, fill, form_for
from agents.triage.asking import failed, question, told_by_model, told_instead
from agents.triage.checks import Answer, check
from agents.triage.fields import Fenced
from orchestration.llm import Asked, Llm
from orchestration.llm import Message as Said
from orchestration.prompts import prompt


async def consult(llm: Llm, record: TriageData, sample: Sequence[Fenced]) -> tuple[TriageData, Sequence[bytes]]:
    """Ask, check, and have it mended once; what cannot be used gives way to the deterministic record, which says why."""
    form = form_for(record, bounded=llm.declared.base_url is not None)
    first, repair = prompt("triage"), prompt("repair")
    untrusted = [text for one in sample for text in one.untrusted]
    messages: list[Said] = [("system", first.text), ("human", question(record, sample))]
    usage: list[Usage] = []
    raw: list[bytes] = []
    checks: tuple[Check, ...] = ()
    for digest in (first.digest, repair.digest):
        asked = await llm.ask(messages, form)
        if asked.fault == "too long":
            messages[1] = ("human", question(record, short=True))
            asked = await llm.ask(messages, form)
        usage.append(_usage(asked, llm, digest))
        raw += [asked.raw.encode(errors="surrogatepass")] if asked.raw else []
        if asked.fault in ("passing", "lasting", "too long"):
            why = f"{asked.model or 'the model'} could not be asked: {asked.problem}"
            return told_instead(record, why, usage=tuple(usage), checks=checks), raw
        answer, checks = judged(form, asked, record, untrusted)
        if answer is not None:
            return told_by_model(record, answer, usage=tuple(usage), checks=checks), raw
        said = asked.raw[:4_000] or "(nothing)"
        messages = [*messages[:2], ("ai", said), ("human", repair.text.format(failed=failed(checks)))]
    names = ", ".join(one.check for one in checks if not one.passed)
    why = f"the answer of {llm.declared.model} failed its checks, also when asked again: {names}"
    return told_instead(record, why, usage=tuple(usage), checks=checks), raw


def judged(
    form: type[Form], asked: Asked, record: TriageData, untrusted: Sequence[str]
) -> tuple[Answer | None, tuple[Check, ...]]:
    """The answer where it passed every check, and the checks."""
    if asked.values is None:
        return None, (Check(check="schema", passed=False, detail=asked.problem),)
    filled, schema = fill(form, asked.values)
    if filled is None:
        return None, (schema,)
    answer = Answer.of(filled)
    checks = (schema, *check(answer, record, untrusted))
    return (answer if all(one.passed for one in checks) else None), checks


def _usage(asked: Asked, llm: Llm, digest: str) -> Usage:
    raw = asked.raw.encode(errors="surrogatepass")
    return Usage(
        model=asked.model,
        prompt=digest,
        parameters=json.loads(json.dumps(llm.parameters, default=str)),
        raw=f"sha256:{hashlib.sha256(raw).hexdigest()}" if raw else None,
        input_tokens=asked.input_tokens,
        output_tokens=asked.output_tokens,
        took_ms=asked.took_ms,
        attempts=asked.tries,
    )
