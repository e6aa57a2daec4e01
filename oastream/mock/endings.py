"""The end of an answer, by the name of its outcome: the faults that bring it about.

In: nothing. Out: a table that the option `end` stands on. An outcome that a server can bring about gets its line here;
one that has no fault is up to what is said, and `answer` knows it.
"""

from __future__ import annotations

import math
from typing import Any

from oastream.exits import Outcome
from oastream.mock.errors import ErrorShape
from oastream.mock.events import CutKind
from oastream.mock.faults import HALF

HTML = "<!doctype html>\n<html><head><title>Welcome</title></head><body><h1>Please sign in</h1></body></html>\n"

ENDS: dict[Outcome, dict[str, Any]] = {
    Outcome.STOP: {},
    Outcome.LENGTH: {},
    Outcome.CONTENT_FILTER: {},
    Outcome.REFUSAL: {},
    Outcome.TOOL_CALLS: {},
    Outcome.SCHEMA: {},
    Outcome.OTHER: {},
    Outcome.EMPTY: {},
    Outcome.NO_TOOL_CALLS: {},
    Outcome.NO_CODE: {},
    Outcome.BAD_REQUEST: {"status": 400, "code": "unsupported_parameter", "message": "Unsupported parameter."},
    Outcome.AUTH: {"status": 401, "code": "invalid_api_key", "message": "Incorrect API key provided."},
    Outcome.CONFIG: {"status": 407, "message": "Proxy authentication required."},
    Outcome.FORBIDDEN: {"status": 403, "code": "unsupported_country_region_territory", "message": "Not supported."},
    Outcome.NOT_FOUND: {"status": 404, "code": "model_not_found", "message": "The model does not exist."},
    # A 429 like RATE_LIMITED, but waiting does not help: only the code tells them apart.
    Outcome.QUOTA: {
        "status": 429,
        "type": "insufficient_quota",
        "code": "insufficient_quota",
        "message": "You exceeded your current quota, please check your plan and billing details.",
    },
    Outcome.REJECTED: {"status": 410, "message": "This endpoint is gone."},
    Outcome.NOT_API: {"status": 200, "body": HTML},  # a captive portal, or a proxy's page
    Outcome.RATE_LIMITED: {"status": 429, "code": "rate_limit_exceeded", "message": "Rate limit reached."},
    Outcome.SERVER_ERROR: {"status": 500, "message": "The server had an error while processing your request."},
    Outcome.UNREACHABLE: {"raw": ""},  # a server cannot refuse the connection that it was asked on
    Outcome.TIMEOUT: {"delay": math.inf},
    Outcome.INTERRUPTED: {"cut_events": HALF, "cut": CutKind.DROP},
    Outcome.IDLE: {"stall_after": HALF},
    Outcome.FAILED: {
        "error": ErrorShape.NESTED,
        "after": HALF,
        "message": "The model failed while it was answering.",
    },
    Outcome.MALFORMED: {"malformed": HALF},
    Outcome.DEADLINE: {"endless": True},
}
"""Each end that a server can bring about → the keys of a fault that does it."""
