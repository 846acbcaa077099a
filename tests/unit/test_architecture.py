"""The rooms of docs/design.md, section 3, kept by parsing every module: what it may import, call and catch.

The functions that look at a tree are tested on small bad sources at the end, so that none of them passes by not looking.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERIFIER = "agents/audit/verify.py"
CHECKER = "tests/chaos/checker.py"
LONGEST = 600
LONGEST_VERIFIER = 800  # what an auditor reads in one sitting

PURE_PACKAGES = {
    "agents",
    "cryptography",
    "holidays",
    "msgspec",
    "numpy",
    "polars",
    "pydantic",
    "pydantic_core",
    "scipy",
    "sklearn",
    "sqlglot",
    "yaml",
}
"""What agents/ may import beside the standard library: nothing that talks to the world."""
IMPURE_STDLIB = {
    "asyncio", "concurrent", "ctypes", "fcntl", "ftplib", "getpass", "glob", "http", "importlib", "locale", "logging",
    "mmap", "multiprocessing", "os", "pathlib", "platform", "queue", "random", "sched", "secrets", "select", "selectors",
    "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib", "uuid", "webbrowser",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "breakpoint", "__import__"}
IMPURE_METHODS = {
    "now",
    "utcnow",
    "today",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "fromfile",
    "tofile",
}
POLARS_FILES = ("read_", "scan_", "write_", "sink_")

USES_RAY = {
    "orchestration/actors.py": "turns plain classes into actors",
    "orchestration/cli/run.py": "starts and stops the local cluster",
}
"""The only modules that may know Ray."""

CATCHES_ALL = {
    "orchestration/llm.py:Llm._once": "providers' libraries raise what they like: the deterministic summary then stands",
    "orchestration/lane_life.py:LaneLife._live": "the lane's edge: whatever it is becomes Retryable, Poison or Fatal",
    "orchestration/lane_life.py:LaneLife._cry": "a flag about a lane that ends already; the log has it too",
    "orchestration/lane_life.py:LaneLife._abort": "where an abort fails, the broker's time-out aborts",
}
"""The only places that may catch whatever comes, and why. (To clean up and raise it again as it was is no catch.)"""


def modules(*folders: str) -> list[str]:
    """Paths of all Python modules below, from the root."""
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tree(path: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse((ROOT / path).read_text(), path)


def imports(module: ast.Module) -> set[str]:
    """Full names of the modules imported anywhere in it, type-checking and function bodies included; `.` if relative."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else node.module or "")
    return found


def packages(module: ast.Module) -> set[str]:
    """Top-level packages imported anywhere in it."""
    return {name.partition(".")[0] or "." for name in imports(module)}


def impurities(module: ast.Module) -> list[str]:
    """What a module of agents/ must not do: imports and calls that reach the world, as `line: what`."""
    found = []
    for name in sorted(packages(module)):
        allowed = name in PURE_PACKAGES or (name in sys.stdlib_module_names and name not in IMPURE_STDLIB)
        if not allowed:
            found.append(f"import {name}")
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            what = _impure_call(node.func)
            if what:
                found.append(f"line {node.lineno}: {what}()")
        elif isinstance(node, ast.Attribute) and node.attr == "random" and _is(node.value, "np", "numpy"):
            found.append(f"line {node.lineno}: numpy.random")
    return found


def _impure_call(function: ast.expr) -> str | None:
    if isinstance(function, ast.Name) and function.id in IMPURE_CALLS:
        return function.id
    if isinstance(function, ast.Attribute):
        if function.attr in IMPURE_METHODS or (function.attr == "open" and not _is(function.value, "self")):
            return function.attr
        if function.attr.startswith(POLARS_FILES) and _is(function.value, "pl", "polars"):
            return f"pl.{function.attr}"
    return None


def _is(node: ast.expr, *names: str) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def broad_catches(module: ast.Module) -> set[str]:
    """Qualified names of the functions that catch Exception, BaseException or everything, `suppress` included."""
    return {where for where, node in _with_places(module, "") if _is_broad(node)}


def _with_places(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{place}.{child.name}".removeprefix(".")
        yield inner, child
        yield from _with_places(child, inner)


def _is_broad(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return (node.type is None or _names_all(node.type)) and not _passes_on(node.body[-1])
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name == "suppress" and any(map(_names_all, node.args))
    return False


def _passes_on(last: ast.stmt) -> bool:
    return isinstance(last, ast.Raise) and last.exc is None


def _names_all(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(_names_all, node.elts))
    return _is(node, "Exception", "BaseException")


# -- the tree as it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in modules("agents") if path != VERIFIER])
def test_agents_reach_for_nothing_outside_their_arguments(path: str) -> None:
    assert impurities(tree(path)) == []


def test_the_verifier_needs_the_standard_library_and_cryptography_only() -> None:
    found = packages(tree(VERIFIER))
    assert "cryptography" in found
    assert found - sys.stdlib_module_names == {"cryptography"}


def test_the_checker_of_crash_tests_shares_no_code_with_the_product() -> None:
    found = packages(tree(CHECKER))
    assert found - sys.stdlib_module_names == {"aiokafka"}


@pytest.mark.parametrize("path", modules("agents", "orchestration"))
def test_the_product_imports_neither_tests_nor_relative_names(path: str) -> None:
    assert not packages(tree(path)) & {"tests", "."}


def test_ray_is_known_to_the_edge_only() -> None:
    assert {path for path in modules("agents", "orchestration") if "ray" in packages(tree(path))} <= set(USES_RAY)


def test_only_known_places_catch_everything() -> None:
    found = {f"{path}:{place}" for path in modules("agents", "orchestration") for place in broad_catches(tree(path))}
    assert found - set(CATCHES_ALL) == set()
    assert {place for place in CATCHES_ALL if place not in found} == set(), "the table lists places that are gone"


def test_every_module_says_what_it_promises() -> None:
    silent = [
        path
        for path in modules("agents", "orchestration", "tests")
        if (ROOT / path).stat().st_size and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_no_module_is_too_long_to_read() -> None:
    lengths = {
        path: len((ROOT / path).read_text().splitlines()) for path in modules("agents", "orchestration", "tests")
    }
    assert lengths.pop(VERIFIER) <= LONGEST_VERIFIER
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


# -- the checks themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import os", "import os"),
        ("from os.path import join", "import os"),
        ("import ray.util", "import ray"),
        ("from orchestration.lane import Lane", "import orchestration"),
        ("from . import sibling", "import ."),
        ("def f():\n    from aiokafka import AIOKafkaConsumer", "import aiokafka"),
        ("from pathlib import Path", "import pathlib"),
        ("from datetime import datetime\nx = datetime.now()", "line 2: now()"),
        ("import datetime\nx = datetime.date.today()", "line 2: today()"),
        ("x = open('f')", "line 1: open()"),
        ("x = place.open()", "line 1: open()"),
        ("x = place.read_bytes()", "line 1: read_bytes()"),
        ("import polars as pl\nx = pl.read_ndjson('f')", "line 2: pl.read_ndjson()"),
        ("import numpy as np\nx = np.random.default_rng()", "line 2: numpy.random"),
        ("print('x')", "line 1: print()"),
        ("x = eval('1')", "line 1: eval()"),
    ],
)
def test_an_impure_source_is_told(source: str, told: str) -> None:
    assert impurities(ast.parse(source)) == [told]


def test_a_pure_source_is_left_alone() -> None:
    source = (
        "import json, re\nimport polars as pl\nfrom agents.errors import Fatal\nx = re.compile('a'); y = pl.col('a')"
    )
    assert impurities(ast.parse(source)) == []


@pytest.mark.parametrize(
    "body",
    [
        "try:\n            pass\n        except Exception:\n            pass",
        "try:\n            pass\n        except (ValueError, BaseException) as error:\n            pass",
        "try:\n            pass\n        except:\n            pass",
        "with contextlib.suppress(Exception):\n            pass",
        "with suppress(ValueError, BaseException):\n            pass",
    ],
)
def test_a_broad_catch_is_found_with_its_place(body: str) -> None:
    source = f"class A:\n    async def b(self):\n        {body}\n"
    assert broad_catches(ast.parse(source)) == {"A.b"}


def test_a_narrow_catch_is_no_finding() -> None:
    source = "try:\n    pass\nexcept (ValueError, KeyError):\n    pass\nwith suppress(OSError):\n    pass"
    assert broad_catches(ast.parse(source)) == set()


def test_cleaning_up_before_the_error_goes_on_is_no_finding() -> None:
    source = "try:\n    pass\nexcept BaseException:\n    clean()\n    raise"
    assert broad_catches(ast.parse(source)) == set()
