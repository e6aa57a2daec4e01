"""Items that wait for the client (tool calls, approvals, commands to run): which do, and how they are printed.

In: items, and the names of the tools that the request offered. Out: the items that wait, and each as --format tools
prints it. Refuses to know how the answer ended. Presence decides and not the finish_reason, which many servers get
wrong: `stop` with calls, `tool_calls` without.
"""

from __future__ import annotations

from oastream.display import one_line
from oastream.events.fields import Fields, nonempty_str
from oastream.events.items import CALLS, Item, arguments_of

_OUTPUTS = {
    **{kind: f"{kind}_output" for kind in CALLS},
    "mcp_approval_request": "mcp_approval_response",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
    "tool_search_call": "tool_search_output",
}
"""Items that wait for the client, and the items that answer them: where the server itself adds one, nobody waits."""
_ANSWERS = frozenset(_OUTPUTS.values())


class BrokenCall(Exception):
    """A call that cannot be run; the message says why."""


def items_awaiting_client(items: list[Item], offered: frozenset[str] | None) -> list[Item]:
    """The items of the answer that wait for the client: it must run something, and report the result."""
    # Two passes, since a result may precede its call in the output.
    answered: set[tuple[str, str | None]] = set()
    last_message = -1
    for place, item in enumerate(items):
        if item.kind in _ANSWERS:
            answered.add((item.kind, _answered_name(item)))
        elif item.kind == "message" and item.in_answer:
            last_message = place
    waiting = []
    for place, item in enumerate(items):
        if item.in_answer and _needs_an_answer(item, answered):
            was_run_by_server = place < last_message and is_servers_own(item, offered)
            if not was_run_by_server:
                waiting.append(item)
    return waiting


def is_servers_own(item: Item, offered: frozenset[str] | None) -> bool:
    """Whether a call is of a tool that the request did not offer: xAI calls its own x_search, and continues."""
    return item.kind in CALLS and offered is not None and item.fields.get("name") not in offered


def _needs_an_answer(item: Item, answered: set[tuple[str, str | None]]) -> bool:
    """Whether an item is of a kind that waits for the client, and the server has not answered it itself."""
    output = _OUTPUTS.get(item.kind)
    if output is None or (item.kind == "tool_search_call" and item.fields.get("execution") != "client"):
        return False
    name = nonempty_str(item.fields.get("call_id")) or nonempty_str(item.fields.get("id"))
    return (output, name) not in answered and (output, None) not in answered  # None: a result that names no call


def _answered_name(item: Item) -> str | None:
    """The name of the item that an output answers; None when it names none."""
    return nonempty_str(item.fields.get("call_id")) or nonempty_str(item.fields.get("approval_request_id"))


def printed_form(item: Item) -> Fields:
    """An item as --format tools prints it. Raises `BrokenCall`."""
    if item.kind not in CALLS:
        return item.fields
    name = nonempty_str(item.fields.get("name"))
    if name is None:
        raise BrokenCall("it has no name")
    head = {"type": item.kind, "call_id": item.fields.get("call_id") or "", "name": name}
    if item.kind == "custom_tool_call":
        return {**head, "input": item.payload()}
    try:
        return {**head, "arguments": arguments_of(item.payload())}
    except ValueError as error:
        raise BrokenCall("its arguments are not a JSON object") from error


def shown_name(item: Item) -> str:
    """The name of an item in messages."""
    return one_line(nonempty_str(item.fields.get("name")) or item.kind, 80)
