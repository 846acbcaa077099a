"""A chat model of any provider, asked to fill in one form: in its time, at its rate, and never with an exception.

Providers and their libraries fail in ways of their own: time-outs, rate limits, answers cut off, facts that are too long, no
answer at all. Each becomes an `Asked` that says so in words that hold neither the answer's text nor a key. LangChain is
imported when the first question is asked, in a thread, because that takes a second; its tracing is switched off.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx
import tenacity

from agents.errors import Misconfigured
from agents.escalation.declared import Triage
from agents.triage.answer import Form
from orchestration.secrets import secret

GRACE_S = 2.0
"""Beyond the provider's own time-out, before the question is given up from outside."""
TOO_LATE = "it did not answer in time"
LONGEST_RAW = 200_000
"""Characters of an answer that are looked at and kept."""
_TIMED = ("openai", "azure_openai", "anthropic", "mistralai", "groq", "fireworks", "together", "deepseek", "xai")
"""Providers whose classes take `timeout` and `max_retries`."""
_PASSING = ("Timeout", "Connection", "RateLimit", "Overloaded", "Unavailable", "InternalServer")
_TOO_LONG = (
    "context length",
    "context_length",
    "context size",
    "context window",
    "too many tokens",
    "prompt is too long",
)

Message = tuple[Literal["system", "human", "ai"], str]
Fault = Literal["passing", "lasting", "too long", "cut", ""]


@dataclass(frozen=True)
class Asked:
    """What came of one question."""

    model: str
    values: Any = None
    """What to fill in the form; None where there is nothing."""
    raw: str = ""
    """The answer as it came."""
    input_tokens: int = 0
    output_tokens: int = 0
    took_ms: float = 0.0
    tries: int = 1
    fault: Fault = ""
    problem: str = ""
    """Why there is no answer, in words for people."""


class Llm:
    """The model of a configuration and its fallbacks."""

    def __init__(self, declared: Triage, make: Callable[[Triage, str], Any] | None = None) -> None:
        """`make`: a chat model for a declaration and a model's name; None: LangChain's."""
        self.declared, self._make = declared, make or chat_model
        self._models: dict[str, Any] = {}
        self._free_at = 0.0

    @property
    def parameters(self) -> dict[str, Any]:
        """What is asked with, for evidence."""
        return {**self.declared.parameters, "method": self.declared.method, "timeout": self.declared.timeout}

    async def ask(self, messages: Sequence[Message], form: type[Form]) -> Asked:
        """The first model that answers; a fault of one is the next one's turn. What cannot be answered says why."""
        asked = Asked(self.declared.model or "", fault="lasting", problem="no model is configured")
        spent, tries = [0, 0], 0
        for name in filter(None, (self.declared.model, *self.declared.fallbacks)):
            asked = await self._patiently(name, messages, form)
            spent = [spent[0] + asked.input_tokens, spent[1] + asked.output_tokens]
            tries += asked.tries
            if asked.fault not in ("passing", "lasting"):
                break
        return replace(asked, input_tokens=spent[0], output_tokens=spent[1], tries=max(tries, 1))

    async def _patiently(self, name: str, messages: Sequence[Message], form: type[Form]) -> Asked:
        """One model, tried again after faults that pass."""
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(1 + self.declared.retries),
            wait=tenacity.wait_random_exponential(0.5, max=10),
            retry=tenacity.retry_if_result(lambda asked: asked.fault == "passing"),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        every: list[Asked] = []

        async def once() -> Asked:
            every.append(await self._once(name, messages, form))
            return every[-1]

        asked: Asked = await retrying(once)
        spent = (sum(one.input_tokens for one in every), sum(one.output_tokens for one in every))
        return replace(asked, tries=len(every), input_tokens=spent[0], output_tokens=spent[1])

    async def _once(self, name: str, messages: Sequence[Message], form: type[Form]) -> Asked:
        """One question; whatever is raised becomes a fault."""
        await self._turn()
        begun = time.monotonic()
        try:
            model = await self._model(name)
            answered = await asyncio.wait_for(
                _invoke(model, messages, form, self.declared.method), self.declared.timeout + GRACE_S
            )
            found = _estimated(_read(name, answered), messages)
        except Exception as error:  # noqa: BLE001  providers' libraries raise what they like; the other summary stands
            found = _faulty(name, error)
            if found.problem == TOO_LATE:  # it was asked, and may yet be charged for
                found = _estimated(found, messages)
            if found.fault == "lasting":
                self._models.pop(name, None)  # made anew next time: perhaps with a secret that was mended
        return replace(found, took_ms=round((time.monotonic() - begun) * 1000, 1))

    async def _turn(self) -> None:
        """Wait until the rate allows another request."""
        now = time.monotonic()
        wait, self._free_at = self._free_at - now, max(self._free_at, now) + 60 / self.declared.requests_per_minute
        if wait > 0:
            await asyncio.sleep(wait)

    async def _model(self, name: str) -> Any:
        if name not in self._models:
            self._models[name] = await asyncio.to_thread(self._make, self.declared, name)
        return self._models[name]


def chat_model(declared: Triage, name: str) -> Any:
    """LangChain's chat model of this name, `openai:gpt-…` say. Takes a second the first time."""
    os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"  # nothing goes to anybody else
    from langchain.chat_models import init_chat_model

    provider = name.partition(":")[0] if ":" in name else ""
    given: dict[str, Any] = dict(declared.parameters)
    if provider in ("", *_TIMED):
        given |= {"timeout": declared.timeout, "max_retries": 0}
    if declared.base_url is not None:
        given["base_url"] = declared.base_url
        if provider in ("", "openai"):
            given["use_responses_api"] = False
    if declared.secret is not None:
        given["api_key"] = secret(declared.secret)
    elif declared.base_url is not None and provider in ("", "openai"):
        given["api_key"] = "none"  # the class wants one, also for a server that asks for none
    return init_chat_model(name, **given)


async def _invoke(model: Any, messages: Sequence[Message], form: type[Form], method: str) -> Any:
    from langsmith import tracing_context

    with tracing_context(enabled=False):
        try:
            structured = model.with_structured_output(form, method=method, include_raw=True)
        except NotImplementedError:  # a model without it may still write JSON
            structured = model
        return await structured.ainvoke(list(messages))


def _estimated(asked: Asked, messages: Sequence[Message]) -> Asked:
    """With what the question cost where the provider does not say: a token for four characters."""
    return replace(asked, input_tokens=asked.input_tokens or sum(len(text) for _, text in messages) // 4)


def _read(name: str, answered: Any) -> Asked:
    """What came back: a dict with raw and parsed, or a message."""
    raw = answered.get("raw") if isinstance(answered, dict) else answered
    parsed = answered.get("parsed") if isinstance(answered, dict) else None
    text = _text(raw)
    usage = getattr(raw, "usage_metadata", None) or {}
    asked = Asked(
        name,
        raw=text[:LONGEST_RAW],
        input_tokens=int(usage.get("input_tokens", 0)),
        output_tokens=int(usage.get("output_tokens", 0)) or len(text) // 4,
    )
    ended = getattr(raw, "response_metadata", None) or {}
    if "length" in (ended.get("finish_reason"), ended.get("done_reason")) or ended.get("stop_reason") == "max_tokens":
        return replace(asked, fault="cut", problem="its answer was cut off at max_tokens")
    values = parsed.model_dump() if isinstance(parsed, Form) else _json(text)
    if values is None:
        calls = getattr(raw, "tool_calls", None) or [{}]
        values = calls[0].get("args") or None
    return replace(
        asked, values=values, problem="" if values is not None else "it gave no answer in the form asked for"
    )


def _text(raw: Any) -> str:
    content = getattr(raw, "content", raw)
    if isinstance(content, str) and content:
        return content
    parts = [part.get("text", "") if isinstance(part, dict) else str(part) for part in content or ()]
    calls = [call.get("args") for call in getattr(raw, "tool_calls", None) or ()]
    return "".join(parts) or (json.dumps(calls[0], default=str) if calls else "")


def _json(text: str) -> Any:
    """The JSON object in an answer, also where words or a fence stand around it; None where there is none."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end or end - start > LONGEST_RAW:
        return None
    try:
        found = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _faulty(name: str, error: Exception) -> Asked:
    """A fault in words: the kind of error and its status, never its text, which may hold keys or the answer."""
    kind = type(error).__name__
    status = getattr(error, "status_code", None)
    told = f"{kind}{f' ({status})' if isinstance(status, int) else ''}"
    cause = getattr(error, "__cause__", None)  # LangChain wraps what the provider's library raised
    completion = getattr(error, "completion", None) or getattr(cause, "completion", None)  # LengthFinishReasonError
    if completion is not None:
        usage = getattr(completion, "usage", None)
        raw = str(completion.choices[0].message.content or "") if getattr(completion, "choices", None) else ""
        return Asked(
            name,
            raw=raw[:LONGEST_RAW],
            input_tokens=int(getattr(usage, "prompt_tokens", 0) or 0),
            output_tokens=int(getattr(usage, "completion_tokens", 0) or 0),
            fault="cut",
            problem="its answer was cut off at max_tokens",
        )
    if "ContextOverflow" in kind or any(word in str(error).lower() for word in _TOO_LONG):
        return Asked(name, fault="too long", problem="the facts are longer than what it takes")
    if isinstance(error, Misconfigured):
        return Asked(name, fault="lasting", problem=str(error))
    if isinstance(error, ImportError):
        told = f"the package {error.name} is missing; install the extra `llm`, or the provider's package beside it"
        return Asked(name, fault="lasting", problem=told)
    passing = isinstance(error, TimeoutError | httpx.TransportError | OSError) or any(one in kind for one in _PASSING)
    passing = passing or (isinstance(status, int) and (status in (408, 409, 425, 429) or status >= 500))
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        told = TOO_LATE
    return Asked(name, fault="passing" if passing else "lasting", problem=told)
