"""A body is made of options, items and --body alone: one set of options and one base serve any number of bodies."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from oastream.apis import API_NAMES, api_named
from oastream.cli.parse import parse
from oastream.input.body import BodySettings, build_body, read_body_settings, user_message

BASE = {"metadata": {"team": {"name": "x"}}, "stop": ["a"], "tools": [{"type": "function", "name": "g"}]}
FILES = {"system.txt": "be short", "tools.json": json.dumps([{"name": "f", "parameters": {"type": "object"}}])}


def settings_of(*words: str) -> tuple[BodySettings, list[str]]:
    """The settings that a command line makes, and the files that were read for them."""
    reads: list[str] = []

    def read(path: str) -> str:
        reads.append(path)
        return FILES[path]

    return read_body_settings(parse([*words, "hi"]), read), reads


@pytest.mark.parametrize("api", API_NAMES)
def test_a_base_that_many_bodies_share_stays_as_it_was(api: str) -> None:
    words = ("--set", "metadata.team.name=y", "--set", "stop.1=b", "--set", "tools.0.name=h", "--set", "new.0.a=1")
    settings, _ = settings_of(*words)
    base = copy.deepcopy(BASE)
    bodies = [build_body(api_named(api), settings, user_message("hi", ()), base) for _ in range(3)]
    assert base == BASE
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["metadata"] == {"team": {"name": "y"}}
    assert bodies[0]["stop"] == ["a", "b"]
    assert bodies[0]["new"] == [{"a": 1}]


def test_a_value_that_set_adds_to_is_not_shared() -> None:
    settings, _ = settings_of("--set", 'meta={"list":[]}', "--set", "meta.list.0=1")
    bodies = [build_body(api_named("responses"), settings, (), {}) for _ in range(2)]
    assert [body["meta"] for body in bodies] == [{"list": [1]}, {"list": [1]}]
    assert settings.assignments[0] == ("meta", {"list": []})


def test_files_are_read_once_for_any_number_of_bodies_of_either_api() -> None:
    settings, reads = settings_of("-s", "@system.txt", "--tools", "tools.json", "--tool-choice", "f")
    bodies: dict[str, Any] = {}
    for api in (*API_NAMES, *API_NAMES):
        bodies[api] = build_body(api_named(api), settings, user_message("hi", ()), {})
    assert sorted(reads) == ["system.txt", "tools.json"]
    assert bodies["responses"]["instructions"] == "be short"
    assert bodies["chat"]["messages"][0] == {"role": "system", "content": "be short"}
    assert bodies["responses"]["tool_choice"] == {"type": "function", "name": "f"}
    assert bodies["chat"]["tool_choice"] == {"type": "function", "function": {"name": "f"}}
