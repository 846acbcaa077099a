"""Whatever a provider does, an answer or a reason comes back: in time, at the rate allowed, without keys or texts of errors."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage
from openai.types.chat import ChatCompletion

from agents.errors import Misconfigured
from agents.escalation.declared import Triage
from agents.triage.agent import tell
from agents.triage.answer import form_for
from orchestration import llm as module
from orchestration.consulting import consult
from orchestration.llm import Llm, chat_model
from tests.unit.triage.hostile import asking, honest
from tests.unit.triage.situations import seen

BEFORE = tell(seen())
FORM = form_for(BEFORE)
REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def completion(reason: str, content: str) -> ChatCompletion:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 900, "completion_tokens": 350, "total_tokens": 1250}
    given = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return ChatCompletion.model_validate(given)


def status(kind: type[openai.APIStatusError], code: int, text: str = "sk-SECRET is wrong") -> Exception:
    return kind(text, response=httpx.Response(code, request=REQUEST), body=None)


class Scripted:
    """A model that raises or answers, one thing after the other, and counts."""

    def __init__(self, *script: Any) -> None:
        self.script, self.asked = list(script), 0

    def with_structured_output(self, form: Any, **given: Any) -> Scripted:
        assert given == {"method": "json_schema", "include_raw": True}
        return self

    async def ainvoke(self, messages: Any) -> Any:
        self.asked += 1
        one = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(one, Exception):
            raise one
        return await one() if callable(one) else one


def llm(*models: Scripted, **declared: Any) -> Llm:
    names = [f"fake:{number}" for number in range(len(models))]
    given = {"model": names[0], "fallbacks": names[1:], "requests_per_minute": 1e9, "retries": 0, **declared}
    table = dict(zip(names, models, strict=True))
    return Llm(Triage.model_validate(given), lambda _, name: table[name])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.0)
    monkeypatch.setattr(module.tenacity, "wait_random_exponential", lambda *given, **more: module.tenacity.wait_none())


GOOD = {"raw": AIMessage(json.dumps(honest(None))), "parsed": FORM.model_validate(honest(FORM, teams=[])), "x": 1}


async def test_a_passing_fault_is_tried_again() -> None:
    model = Scripted(openai.APIConnectionError(request=REQUEST), status(openai.RateLimitError, 429), GOOD)
    asked = await llm(model, retries=2).ask([("human", "x")], FORM)
    assert (asked.fault, asked.tries, model.asked) == ("", 3, 3)
    assert asked.values["cause"] == "bias"


async def test_a_fallback_answers_where_the_first_model_fails() -> None:
    first, second = Scripted(status(openai.AuthenticationError, 401)), Scripted(GOOD)
    asked = await llm(first, second, retries=2).ask([("human", "x")], FORM)
    assert (asked.model, asked.fault) == ("fake:1", "")
    assert (first.asked, second.asked) == (1, 1), "a fault that lasts is not tried again"


async def test_a_model_that_does_not_answer_is_given_up_in_time() -> None:
    model = Scripted(lambda: asyncio.sleep(30))
    begun = time.monotonic()
    asked = await llm(model, timeout=0.1).ask([("human", "x")], FORM)
    assert time.monotonic() - begun < 2
    assert (asked.fault, asked.problem) == ("passing", "it did not answer in time")


@pytest.mark.parametrize(
    ("error", "fault", "told"),
    [
        (status(openai.AuthenticationError, 401), "lasting", "AuthenticationError (401)"),
        (status(openai.InternalServerError, 500), "passing", "InternalServerError (500)"),
        (
            status(openai.BadRequestError, 400, "This model's maximum context length is 4096 tokens"),
            "too long",
            "the facts are longer than what it takes",
        ),
        (
            openai.LengthFinishReasonError(completion=completion("length", '{"summary": "The dec')),
            "cut",
            "its answer was cut off at max_tokens",
        ),
        (ZeroDivisionError("sk-SECRET"), "lasting", "ZeroDivisionError"),
        (Misconfigured("there is no secret 'llm': set GOVERN_SECRET_LLM"), "lasting", "GOVERN_SECRET_LLM"),
        (
            ModuleNotFoundError("no", name="langchain_mistralai"),
            "lasting",
            "the package langchain_mistralai is missing",
        ),
    ],
)
async def test_every_fault_becomes_a_reason_without_the_errors_text(error: Exception, fault: str, told: str) -> None:
    asked = await llm(Scripted(error)).ask([("human", "x")], FORM)
    assert asked.fault == fault
    assert told in asked.problem
    assert "SECRET is" not in asked.problem
    if fault == "cut":
        assert (asked.input_tokens, asked.output_tokens) == (900, 350)


@pytest.mark.parametrize(
    ("answered", "values"),
    [
        ({"raw": AIMessage(""), "parsed": None}, None),
        ({"raw": None, "parsed": None}, None),
        (None, None),
        ({"raw": AIMessage('Here it is:\n```json\n{"a": 1}\n```'), "parsed": None}, {"a": 1}),
        ({"raw": AIMessage("", tool_calls=[{"name": "t", "args": {"a": 1}, "id": "1"}]), "parsed": None}, {"a": 1}),
        ({"raw": AIMessage([{"type": "text", "text": '{"a": 1}'}]), "parsed": None}, {"a": 1}),
        (AIMessage('{"a": 1}'), {"a": 1}),
    ],
)
async def test_an_answer_is_found_in_whatever_shape_it_comes(answered: Any, values: Any) -> None:
    asked = await llm(Scripted(answered)).ask([("human", "x")], FORM)
    assert asked.values == values
    assert bool(asked.problem) == (values is None)


async def test_an_answer_that_was_cut_off_is_none() -> None:
    cut = AIMessage('{"a": 1}', response_metadata={"finish_reason": "length"})
    assert (await llm(Scripted({"raw": cut, "parsed": None})).ask([("human", "x")], FORM)).fault == "cut"


async def test_requests_keep_to_the_rate() -> None:
    one = llm(Scripted(GOOD), requests_per_minute=600)
    begun = time.monotonic()
    for _ in range(3):
        await one.ask([("human", "x")], FORM)
    assert 0.19 < time.monotonic() - begun < 2


async def test_facts_that_are_too_long_are_asked_once_more_with_fewer() -> None:
    asked: list[str] = []

    def answer(text: str, form: Any) -> Any:
        asked.append(text)
        if "f11 (sample)" in text:
            raise status(openai.BadRequestError, 400, "context size exceeded")
        return honest(form)

    told, _ = await consult(asking(answer), BEFORE, [])
    assert told.by == "model"
    assert len(asked) == 2
    assert "f10 " in asked[1]


@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (lambda: status(openai.AuthenticationError, 401), "could not be asked: AuthenticationError (401)"),
        (lambda: TimeoutError(), "could not be asked: it did not answer in time"),
    ],
)
async def test_the_deterministic_summary_stands_and_says_why(fail: Callable[[], Exception], told: str) -> None:
    record, _ = await consult(llm(Scripted(fail())), BEFORE, [])
    assert record.by == "deterministic"
    assert record.summary == BEFORE.summary
    assert record.instead is not None
    assert told in record.instead


async def test_a_model_without_structured_output_may_write_json() -> None:
    class Plain(Scripted):
        def with_structured_output(self, form: Any, **given: Any) -> Scripted:
            raise NotImplementedError

    record, _ = await consult(llm(Plain(AIMessage("Sure! " + json.dumps(honest(None, teams=[]))))), BEFORE, [])
    assert record.by == "model"


def test_langchain_is_set_up_without_tracing_and_with_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("GOVERN_SECRET_LLM_KEY", "sk-1")
    declared = Triage(model="openai:gpt-x", base_url="http://127.0.0.1:9/v1", secret="llm-key", timeout=3)
    model = chat_model(declared, "openai:gpt-x")
    assert os.environ["LANGSMITH_TRACING"] == "false"
    assert model.openai_api_key.get_secret_value() == "sk-1"
    assert (model.request_timeout, model.max_retries, model.temperature, model.max_tokens) == (3, 0, 0, 700)
    assert str(model.openai_api_base) == "http://127.0.0.1:9/v1"
    monkeypatch.delenv("GOVERN_SECRET_LLM_KEY")
    with pytest.raises(Misconfigured, match="GOVERN_SECRET_LLM_KEY"):
        chat_model(declared, "openai:gpt-x")
