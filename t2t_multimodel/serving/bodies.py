"""Reads the body of a request: JSON of a limited size, or a refusal with 400, 413 or 415."""

import asyncio
import json
from typing import Any

from t2t_multimodel.serving.refusals import Refused

# Of these a browser sends the first to another site only if that allows it; curl -d sends the second by default.
_TYPES = ("", "application/json", "application/x-www-form-urlencoded")
_LARGE = 1 << 16  # bytes; more is parsed in another thread
_MOST_DISCARDED = 1 << 28  # bytes; a client that sends more sees its connection closed


async def read_json(request: Any, most: int) -> Any:
    """The JSON value in the body of a Starlette request of at most `most` bytes.

    A larger body is read to its end and dropped: a client that is still sending would not see the answer.

    Raises:
      Refused: 400, no JSON; 413, too large; 415, another type of content.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    size, parts, too_large = 0, [], False
    async for part in request.stream():
        size += len(part)
        too_large = size > most
        if too_large:
            parts.clear()
            if size > most + _MOST_DISCARDED:
                break
        else:
            parts.append(part)
    if too_large:
        raise Refused(413, f"the request has more than the {most:,} bytes that --max_request_bytes allows")
    if kind not in _TYPES:
        raise Refused(415, f"the content is {kind}; send JSON, with Content-Type: application/json")
    body = b"".join(parts)
    try:
        if len(body) > _LARGE:
            return await asyncio.get_running_loop().run_in_executor(None, json.loads, body)
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, f"the body is no JSON: {said}") from None
