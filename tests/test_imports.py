"""What a run never imports is a promise about its start-up; how many modules it may is in test_budgets."""

from __future__ import annotations

import pytest

from tests.support.program import imported_modules, run_python
from tests.support.streams import message, responses_body
from tests.support.wire import serve, sse_response

HEAVY = {"openai", "httpx2", "httpcore2", "asyncio", "anyio", "pydantic", "jsonschema_rs", "tomllib"}
NEVER_FOR_HELP = HEAVY | {"ast", "shutil", "ssl", "socket", "httptools", "orjson", "http.client", "email"}
NEVER_FOR_HTTP = HEAVY | {"ssl", "http.client", "http.server", "email", "random", "subprocess", "base64", "click"}
DEFERRED = {"inspect", "ipaddress", "platform"}


@pytest.mark.parametrize("option", ["--help", "--help-all", "--version"])
def test_help_imports_nothing_of_the_network(option: str) -> None:
    modules = imported_modules(option)
    assert not modules & NEVER_FOR_HELP


def test_a_text_answer_over_http_imports_nothing_it_does_not_use() -> None:
    with serve(sse_response(responses_body(message("hi")))) as server:
        modules = imported_modules("--base-url", server.url, "hi")
    assert not modules & (NEVER_FOR_HTTP | DEFERRED)


@pytest.mark.parametrize("wanted", ["import inspect; inspect.signature", "from inspect import signature"])
def test_a_deferred_module_is_itself_as_soon_as_it_is_wanted(wanted: str) -> None:
    program = f"""
import sys
from oastream.lazy_imports import defer
defer("inspect")
import dataclasses, inspect
assert "ast" not in sys.modules
{wanted}
assert "ast" in sys.modules and sys.modules["inspect"].__file__.endswith("inspect.py")
assert inspect.signature is sys.modules["inspect"].signature
assert inspect.isclass(inspect.Signature)
"""
    result = run_python(program)
    assert (result.status, result.err) == (0, "")


def test_a_deferred_module_has_the_spec_of_the_module() -> None:
    program = """
import importlib.util, sys
from oastream.lazy_imports import defer
wanted = importlib.util.find_spec("inspect")
sys.modules.pop("inspect", None)
defer("inspect")
found = importlib.util.find_spec("inspect")
assert (found.name, found.origin) == (wanted.name, wanted.origin)
assert "ast" not in sys.modules
"""
    result = run_python(program)
    assert (result.status, result.err) == (0, "")


def test_what_is_known_of_a_deferred_module_does_not_load_it() -> None:
    program = """
import os, sys
from oastream.lazy_imports import defer
assert "platform" not in sys.modules
defer("platform", system=lambda: os.uname().sysname)
import platform, uuid
assert "python_version" not in vars(platform)
known = platform.system()
assert platform.python_version().startswith("3.")
assert sys.modules["platform"].__file__.endswith("platform.py") and sys.modules["platform"].system() == known
"""
    result = run_python(program)
    assert (result.status, result.err) == (0, "")


def test_two_threads_may_want_a_deferred_module_at_once() -> None:
    program = """
import sys, threading
from oastream.lazy_imports import defer
sys.setswitchinterval(1e-6)
for _ in range(2000):
    sys.modules.pop("colorsys", None)
    defer("colorsys")
    stand_in, got = sys.modules["colorsys"], []
    threads = [threading.Thread(target=lambda: got.append(stand_in.rgb_to_hsv)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 2 and got[0] is got[1]
"""
    result = run_python(program)
    assert (result.status, result.err) == (0, "")


def test_a_module_that_is_loaded_stays() -> None:
    program = """
import inspect, sys
from oastream.lazy_imports import defer
defer("inspect")
assert sys.modules["inspect"] is inspect
"""
    result = run_python(program)
    assert (result.status, result.err) == (0, "")
