"""What an HTTP status means, where the body says nothing better. The bodies are in the golden cases."""

from __future__ import annotations

import pytest

from tests.support.program import oastream
from tests.support.wire import http_response, serve

MEANING = {
    "301 Moved Permanently": 26,
    "307 Temporary Redirect": 26,
    "400 Bad Request": 20,
    "401 Unauthorized": 21,
    "402 Payment Required": 24,
    "403 Forbidden": 22,
    "404 Not Found": 23,
    "405 Method Not Allowed": 25,
    "408 Request Timeout": 31,
    "409 Conflict": 31,
    "410 Gone": 25,
    "413 Content Too Large": 20,
    "415 Unsupported Media Type": 20,
    "422 Unprocessable Content": 20,
    "425 Too Early": 31,
    "429 Too Many Requests": 30,
    "451 Unavailable For Legal Reasons": 25,
    "500 Internal Server Error": 31,
    "501 Not Implemented": 26,
    "502 Bad Gateway": 31,
    "503 Service Unavailable": 31,
    "504 Gateway Timeout": 31,
    "505 HTTP Version Not Supported": 26,
    "524 A Timeout Occurred": 31,
    "529 Overloaded": 31,
}


@pytest.mark.parametrize(("status", "expected"), MEANING.items(), ids=[line[:3] for line in MEANING])
def test_an_http_status_without_a_body_has_its_exit_status(status: str, expected: int) -> None:
    with serve(http_response(status=status)) as server:
        result = oastream("--base-url", server.url, "--retry", "0", "hello")
    assert result.status == expected
    assert result.out == b""
    assert status[:3] in result.message or expected == 26, "the message names the HTTP status"
