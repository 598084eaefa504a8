"""Look at names, ports and certificates with the standard library alone.

It tells what is wrong, where a client library only says that it cannot connect.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.doctor.check_runner import OutOfTimeError, all_within
from labkit.doctor.diagnosis import Finding, Status, fail, ok, warn

LOOK_S = 2.0
EXPIRY_DAYS = 30
_HOST_NAME, _EXPIRED, _NOT_YET = 62, 10, 9  # X509_V_ERR_*
_ADDRESS = 64
_AWAY = (socket.gaierror, OutOfTimeError, TimeoutError, ConnectionRefusedError)

Address = tuple[str, int]


def address_of(text: str, default_port: int) -> Address:
    """Return host and port of ``host:port``, ``[::1]:9092`` or ``SASL_SSL://host:port``."""
    text = text.strip().rpartition("://")[2]
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or text.endswith("]"):
        return text.strip("[]"), default_port
    return host.strip("[]"), int(port)


def host_port(address: Address) -> str:
    """Return ``host:port``."""
    return f"{address[0]}:{address[1]}"


def resolve(addresses: Iterable[Address]) -> Finding:
    """Look up each host's name."""
    hosts = sorted({host for host, _ in addresses})
    answers = all_within(LOOK_S, {host: _resolver(host) for host in hosts})
    bad = {host: _why(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
    fix = "correct the name in the profile, or this machine's DNS"
    return _sum_up(
        bad,
        len(hosts),
        ", ".join(f"{host} is {answers[host]}" for host in hosts if host not in bad),
        fix,
    )


def _resolver(host: str) -> Callable[[], str]:
    return lambda: str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


def connect(addresses: Iterable[Address]) -> Finding:
    """Open a connection to each port."""
    places = list(addresses)
    answers = all_within(LOOK_S + 0.5, {host_port(place): _connector(place) for place in places})
    bad = {
        place: _why(answer) for place, answer in answers.items() if isinstance(answer, Exception)
    }
    fix = "is it running (`labkit status`: local stack), the port right, no firewall in between?"
    return _sum_up(
        bad, len(answers), f"{', '.join(place for place in answers if place not in bad)} open", fix
    )


def _connector(address: Address) -> Callable[[], None]:
    return lambda: socket.create_connection(address, LOOK_S).close()


def _sum_up(bad: Mapping[str, str], count: int, good: str, fix: str) -> Finding:
    """Return ok, a warning when some of several are bad, a failure when all are."""
    if not bad:
        return ok(good)
    text = _join(bad)
    return fail(text, fix) if len(bad) == count else warn(f"{text} (others answer)", fix)


def _join(bad: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in bad.items())


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "does not resolve"
    if isinstance(error, OutOfTimeError | TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "no server listens there"
    return str(getattr(error, "strerror", None) or error)


# TLS -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tls:
    """What to trust and what to show, as a client library would.

    Attributes
    ----------
    ca : str
        A file or folder of certificates; empty: the system's.
    check_host : bool
        Whether the certificate must name the host.
    setting : str
        The name of the setting that holds the CA, for the fix.
    """

    ca: str = ""
    ca_pem: str = ""
    certificate: str = ""
    key: str = ""
    key_password: str | None = field(default=None, repr=False)
    check_host: bool = True
    setting: str = "ssl.ca.location"

    def context(self) -> ssl.SSLContext:
        """Return a context of these settings."""
        settings = ssl.create_default_context()
        if self.ca_pem or self.ca:
            settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            place = (
                {"capath": self.ca}
                if Path(self.ca).is_dir() and self.ca
                else {"cafile": self.ca or None}
            )
            settings.load_verify_locations(**place, cadata=self.ca_pem or None)
        # the clients do not ask for it
        settings.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        settings.check_hostname = self.check_host
        if self.certificate:
            settings.load_cert_chain(self.certificate, self.key or None, self.key_password)
        return settings


def certificates(addresses: Iterable[Address], settings: Tls) -> Finding:
    """Shake hands with each port, and look at its certificate.

    Its chain must be trusted, its host named, and it must be valid today."""
    try:
        context = settings.context()
    except (OSError, ValueError) as error:
        return fail(
            f"the profile's certificates cannot be used: {_why(error)}",
            f"check {settings.setting} and files",
        )
    answers = all_within(
        LOOK_S + 0.5, {host_port(address): _shaker(address, context) for address in addresses}
    )
    away = {place: _why(answer) for place, answer in answers.items() if isinstance(answer, _AWAY)}
    if len(away) == len(answers):
        return fail(_join(away), "do those ports speak TLS?")
    present = {place: answer for place, answer in answers.items() if place not in away}
    for place, answer in present.items():
        if isinstance(answer, Exception):
            return _refusal(place, answer, settings)
    validity = _judge_validity(min(present.values()), settings)
    if away and validity.status is Status.OK:  # one of several brokers may be down
        return warn(f"{_join(away)} (others: {validity.text})", "is it running?")
    return validity


def _judge_validity(ends: datetime, settings: Tls) -> Finding:
    """Return what the certificate that ends first means."""
    days, name = (ends - datetime.now(UTC)).days, f"{ends:%Y-%m-%d}"
    if days < EXPIRY_DAYS:
        return warn(
            f"a certificate expires in {days} days, on {name}", "tell the server's administrator"
        )
    return ok(
        f"trusted, names the host, valid until {name}"
        if settings.check_host
        else f"trusted, until {name}"
    )


def _shaker(address: Address, context: ssl.SSLContext) -> Callable[[], datetime]:
    def shake() -> datetime:
        with (
            socket.create_connection(address, LOOK_S) as plain,
            context.wrap_socket(plain, server_hostname=address[0]) as secured,
        ):
            ends = str((secured.getpeercert() or {}).get("notAfter"))
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)

    return shake


def _refusal(name: str, error: Exception, settings: Tls) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_untrusted(name, error, settings)
    if isinstance(error, ssl.SSLError | ConnectionResetError):
        return fail(f"{name} does not speak TLS", "the profile asks for TLS: is it the right port?")
    return fail(f"{name}: {_why(error)}", "does that port speak TLS?")


def _explain_untrusted(name: str, error: ssl.SSLCertVerificationError, settings: Tls) -> Finding:
    code = error.verify_code
    if code in (_HOST_NAME, _ADDRESS):
        return fail(
            f"the certificate of {name} is for another host",
            "use a name the certificate has, or have one made with this name in it",
        )
    if code == _EXPIRED:
        return fail(f"the certificate of {name} has expired", "its administrator must renew it")
    if code == _NOT_YET:
        return fail(f"the certificate of {name} is not valid yet", "is this machine's clock right?")
    return fail(
        f"the certificate of {name} is not trusted: {error.verify_message}",
        f"set {settings.setting} to the file of the CA that signed it",
    )


def speaks_tls(address: Address) -> bool:
    """Tell whether a TLS handshake gets an answer, trusted or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, LOOK_S) as plain,
            context.wrap_socket(plain, server_hostname=address[0]),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason or "")
    except OSError:
        return False


def is_loopback(addresses: Iterable[Address]) -> bool:
    """Tell whether all hosts are this machine, by name."""
    return all(host in ("localhost", "::1") or host.startswith("127.") for host, _ in addresses)


def tls_of_librdkafka(settings: Mapping[str, Any]) -> Tls:
    """Return the TLS part of librdkafka's properties."""
    check = str(settings.get("ssl.endpoint.identification.algorithm", "https")).lower()
    ca = str(settings.get("ssl.ca.location", ""))
    return Tls(
        ca="" if ca == "probe" else ca,
        ca_pem=str(settings.get("ssl.ca.pem", "")),
        certificate=str(settings.get("ssl.certificate.location", "")),
        key=str(settings.get("ssl.key.location", "")),
        key_password=settings.get("ssl.key.password"),
        check_host=check != "none",
    )


def tls_of_elasticsearch(settings: Mapping[str, Any]) -> Tls:
    """Return the TLS part of the Elasticsearch client's arguments."""
    return Tls(
        ca=str(settings.get("ca_certs") or ""),
        certificate=str(settings.get("client_cert") or ""),
        key=str(settings.get("client_key") or ""),
        check_host=settings.get("ssl_assert_hostname") is not False,
        setting="ca_certs",
    )
