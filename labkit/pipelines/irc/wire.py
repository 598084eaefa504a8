"""The irc library's connection, made to survive what real servers send.

Each override answers a way in which irc 20.5's own loop ends or hangs, read in its source and
tried:

- ``buffer_class`` decodes strictly as UTF-8 and raises on the first old client: here lines stay bytes.
- ``_process_line`` raises on ``QUIT`` or ``PRIVMSG #c`` without text, a lone ``:``, a NICK without source …, and the
  error ends the loop and loses the lines behind it: here it is caught, after the line was handed
  on.
- ``process_data`` reads a TLS socket until there is data; a TLS 1.3 session ticket makes it readable without any,
  and the loop hangs: here a read that would block returns.
- ``pass_`` sends a password with a space in two pieces; the library logs what it sends, passwords too.
- ``Factory`` knows IPv4 only and waits for minutes; ``set_keepalive`` raises out of the loop once disconnected;
  ``sasl_login`` takes the server's password for itself and never answers a failure it does not
  know: not used.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from labkit.checks.extras import needs_extra
from labkit.errors import ConfigError, LabkitError, UsageError
from labkit.pipelines.irc.record import text

with needs_extra("irc", "IRC"):
    import irc.client
    from jaraco.stream.buffer import LineBuffer

ServerConnectionError = irc.client.ServerConnectionError

CONNECT_TIMEOUT_S = 15.0
SEND_TIMEOUT_S = 10.0
_LONGEST_LINE = 1 << 20  # IRC allows 512 bytes and 8191 of tags

_SECRET = ("PASS ", "AUTHENTICATE ")

_log = logging.getLogger(__name__)


def _shows_no_secret(record: logging.LogRecord) -> bool:
    """Keep the lines that log somebody in out of the library's log."""
    return not any(str(arg).startswith(_SECRET) for arg in record.args or ())


logging.getLogger(irc.client.__name__).addFilter(_shows_no_secret)


class Connection(irc.client.ServerConnection):  # type: ignore[misc]  # the library is not typed
    """A connection that hands each line on as the bytes it came in, and does not die of any."""

    buffer_class = LineBuffer

    def __init__(self, reactor: irc.client.Reactor) -> None:
        super().__init__(reactor)
        self.on_line: Callable[[bytes], None] = lambda _line: None
        self.heard_at = 0.0
        self.why_lost = ""

    def process_data(self) -> None:
        """Read what there is, without waiting, and process each line."""
        try:
            self.socket.settimeout(0)
            try:
                data = self.socket.recv(1 << 16)
            finally:
                self.socket.settimeout(SEND_TIMEOUT_S)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self.disconnect(error.strerror or str(error))
            return
        if not data:
            self.disconnect("the server closed the connection")
            return
        self.heard_at = time.monotonic()
        self.buffer.feed(data)
        for line in self.buffer:
            if line:
                self._process_line(line)
        if len(self.buffer) > _LONGEST_LINE:
            self.disconnect("this is not IRC: a line without end")

    def _process_line(self, line: bytes) -> None:
        self.on_line(line)

    def understand(self, line: bytes) -> None:
        """Let the library do its part: answer PING, know our nick."""
        try:
            super()._process_line(text(line))
        except LabkitError:
            raise
        # whatever the library does not expect; the line itself is recorded
        except Exception as error:
            _log.debug("the irc library cannot read %r: %r", line, error)

    def pass_(self, password: str) -> None:
        """Send the server's password, whatever is in it.

        It stands behind a colon, as only there a space is allowed.
        """
        self.send_raw(f"PASS :{password}")

    def send_raw(self, string: str) -> None:
        """Send a line; do nothing on a connection that is lost.

        The lines received on it still count.
        """
        if self.connected:
            super().send_raw(string)

    def disconnect(self, message: str = "") -> None:
        """Hang up, remembering the first reason given."""
        if self.connected:
            self.why_lost = self.why_lost or message
        super().disconnect(message)


class Reactor(irc.client.Reactor):  # type: ignore[misc]  # the library is not typed
    """The library's loop over our connection."""

    connection_class = Connection


class Dialer:
    """Open sockets to one server: IPv4 or IPv6, TLS verified.

    Parameters
    ----------
    server, port : str, int
    tls : bool
    tls_ca : Path, optional
        Certificates to trust instead of the system's.
    """

    def __init__(self, server: str, port: int, *, tls: bool, tls_ca: Path | None) -> None:
        self._server = server
        self._context: ssl.SSLContext | None = None
        if not server or any(c.isspace() for c in server):
            raise UsageError(
                f"{server!r} is not a host name", hint="write --server irc.example.org"
            )
        if not 0 < port < 65536:
            raise UsageError(
                f"{port} is not a port", hint="1 to 65535; IRC uses 6667, with TLS 6697"
            )
        if tls:
            try:
                self._context = ssl.create_default_context(
                    cafile=None if tls_ca is None else str(tls_ca)
                )
            except OSError as error:  # ssl.SSLError is one too
                reason = f"the certificates in {tls_ca} cannot be read: {error.strerror or error}"
                raise ConfigError(
                    reason, hint="a PEM file of the CA, or of the server itself, is expected"
                ) from error

    def __call__(self, address: tuple[str, int]) -> socket.socket:
        """Connect; raises OSError."""
        try:
            plain = socket.create_connection(address, timeout=CONNECT_TIMEOUT_S)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
        try:
            opened = (
                plain
                if self._context is None
                else self._context.wrap_socket(plain, server_hostname=self._server)
            )
        except TimeoutError as error:
            plain.close()
            raise TimeoutError(
                "the TLS handshake got no answer; does this port speak TLS?"
            ) from error
        except OSError:
            plain.close()
            raise
        opened.settimeout(SEND_TIMEOUT_S)
        return opened
