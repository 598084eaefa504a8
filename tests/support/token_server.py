"""A token endpoint of the client-credentials kind (RFC 6749, 4.4).

It signs what Kafka's listener OIDC takes.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import RSAKey


@dataclass
class TokenServer:
    """What it is told to do, and what it did."""

    key: RSAKey
    client: tuple[str, str] = ("labkit", "client-word-hunter2")
    subject: str = "admin"
    life_s: int = 10
    given: list[str] = field(default_factory=list)
    url: str = ""

    def sign(self) -> str:
        """Return a new token."""
        now = int(time.time())
        claims = {
            "sub": self.subject,
            "iss": "https://login.example.org",
            "aud": "kafka",
            "iat": now,
        }
        token = jwt.encode(
            {"alg": "RS256", "kid": "labkit-test"}, {**claims, "exp": now + self.life_s}, self.key
        )
        self.given.append(token)
        return token


@contextmanager
def token_server(key: Path) -> Iterator[TokenServer]:
    """Run one on a free port of this machine."""
    server = TokenServer(RSAKey.import_key(json.loads(key.read_text())))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            login = base64.b64encode(":".join(server.client).encode()).decode()
            if self.headers.get("Authorization") == f"Basic {login}":
                self._answer(
                    200,
                    {
                        "access_token": server.sign(),
                        "token_type": "Bearer",
                        "expires_in": server.life_s,
                    },
                )
            else:
                self._answer(
                    401, {"error": "invalid_client", "error_description": "wrong client or secret"}
                )

        def _answer(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    server.url = f"http://127.0.0.1:{httpd.server_port}/token"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
