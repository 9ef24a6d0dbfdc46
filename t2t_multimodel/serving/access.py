"""Who may ask: a token where one is set, and no web page of another site; and the headers of every response."""

import hmac
import ipaddress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

_OPEN_PATHS = ("/", "/v2/health/live", "/v2/health/ready")  # hold nothing of the model
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach a server at `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """The rules of one server."""

    def __init__(self, host: str, token: str | None = None) -> None:
        """
        Args:
          host: the address that the server listens at. token: what requests must bring; None: nothing.
        """
        # A foreign name that was made to point here would be the same site to a browser, but for that name.
        self._names = {*_LOCAL_NAMES, host} if is_loopback(host) else None
        self._token = token

    def guard(self, app: Any) -> Any:
        """The ASGI application `app` behind these rules."""

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return

            async def send_with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    headers.setdefault("X-Content-Type-Options", "nosniff")
                    headers.setdefault("Cache-Control", "no-store")
                await send(message)

            refusal = self._refusal(scope["path"], Headers(scope=scope))
            await (refusal or app)(scope, receive, send_with_headers)

        return guarded

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if self._names is not None and _without_port(host) not in self._names:
            return _error(403, "this server is asked by the name localhost; start it with --host to be asked by others")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _error(403, "pages of other sites may not ask this server")
        if self._token is None or path in _OPEN_PATHS:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return None
        return _error(401, "send the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def _error(status: int, said: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": said}, status, headers=headers)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
