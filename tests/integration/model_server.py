"""A chat model behind OpenAI's wire format on this machine, for tests: it answers what a function says, and counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, Any]]
"""A request's body → status, and the content of the answer (or of the error)."""


class ModelServer:
    """What was asked, and where."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.base_url = ""


@contextmanager
def serving(answer: Answer) -> Iterator[ModelServer]:
    """A server on a free port until the block ends."""
    found = ModelServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found.asked.append(body)
            status, content = found.answer(body)
            text = content if isinstance(content, str) else json.dumps(content)
            given: dict[str, Any] = {"error": {"message": text, "type": "t"}}
            if status == 200:
                message = {"role": "assistant", "content": text}
                usage = {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000}
                choices = [{"index": 0, "finish_reason": "stop", "message": message}]
                given = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
                given |= {"choices": choices, "usage": usage}
            sent = json.dumps(given).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            try:
                self.wfile.write(sent)
            except (BrokenPipeError, ConnectionResetError):
                return  # who asked was killed

        def log_message(self, *given: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def dull(body: dict[str, Any]) -> tuple[int, Any]:
    """An answer that passes every check, in the form asked for: of each choice the first, of each text a plain one."""
    schema = body["response_format"]["json_schema"]["schema"]
    texts = {
        "summary": "The declines are held because the monitor raised an alarm; the facts say since when.",
        "cause_text": "The group fares worse than its reference.",
        "action_text": "Open some of the held decisions and compare them.",
    }
    given: dict[str, Any] = {}
    for name, one in schema["properties"].items():
        if name in texts:
            given[name] = texts[name]
        elif one.get("type") == "array":
            given[name] = one["items"].get("enum", [])[:1] if name == "cites" else []
        else:
            given[name] = one["enum"][0] if "enum" in one else one["const"]
    return 200, given
