"""The web page: sent as one file, which the browser lets run its own script and style alone, and ask this server."""

import base64
import hashlib
import pathlib
import re

from starlette.responses import Response

_FOLDER = pathlib.Path(__file__).parent


class Page:
    """The page as it is sent, with the policy that its own digests make up."""

    def __init__(self) -> None:
        self._content = re.sub(r"\{\{([\w.]+)\}\}", lambda name: _read(name[1]), _read("page.html"))
        self._headers = {
            "Content-Security-Policy": "; ".join(
                [
                    "default-src 'none'",
                    f"script-src {_digests('script', self._content)}",
                    f"style-src {_digests('style', self._content)}",
                    "img-src blob: data:",
                    "media-src blob:",
                    "connect-src 'self'",
                    "base-uri 'none'",
                    "form-action 'none'",
                    "frame-ancestors 'none'",
                ]
            ),
            "Referrer-Policy": "no-referrer",
            "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
        }

    def response(self) -> Response:
        return Response(self._content, media_type="text/html", headers=self._headers)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _digests(tag: str, page: str) -> str:
    """The sources of a policy for each element `tag` of the page."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
