"""Keep out of the label page whoever is not the browser tab that was given its address.

The server listens on the loopback address alone, but every web page the browser has open can send requests there. What
stops it: the token, which it cannot know; the Host header, which names another site when a site's name was pointed at
127.0.0.1 (DNS rebinding); and the Origin header, which names the page a request comes from.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answer 403 with a sentence to a request without the token or with a foreign Host or Origin header."""

    def __init__(self, application: ASGIApp, token: str, port: int) -> None:
        self._application = application
        self._token = token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return
        problem = self._problem(scope["path"], Headers(scope=scope))
        application = JSONResponse({"error": problem}, 403) if problem else self._application

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await application(scope, receive, send_with_headers)

    def _problem(self, path: str, headers: Headers) -> str:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "The Host header names another site than this one."
        if any(origin.removeprefix("http://").lower() not in self._hosts for origin in origins):
            return "The request comes from another site's page."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "The request comes from another site's page."
        given = path.split("/")[1] if path.startswith("/") else ""
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return "The address lacks the token: open the one that `sail label` printed."
        return ""
