"""Fetching a JRE where there is none, from an HTTPS server of the test's own, by the real cjdk."""

from __future__ import annotations

import io
import json
import platform
import ssl
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from labkit.errors import JavaNotFoundError
from labkit.stack import java

HOME = "jdk-21.0.9+10-jre"


def packed_jre(version: str = "21.0.9") -> bytes:
    """Return an archive as Temurin's.

    It has one folder, with a program that says its version as Java does.
    """
    program = f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-10-21' >&2\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"{HOME}/bin/java")
        entry.size, entry.mode = len(program), 0o755
        archive.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()


class JavaServer:
    """An index of JREs and one archive; `requests` lists what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.archive = packed_jre()
        self.announced: int | None = None
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def index(self) -> bytes:
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(
            platform.machine(), platform.machine()
        )
        vendors = {
            "jdk@temurin-jre": {
                "17.0.1": "tgz+https://localhost/none",
                "21.0.9": f"tgz+{self.url}/jre.tar.gz",
            }
        }
        return json.dumps({sys.platform: {machine: vendors}}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                body = server.index() if self.path == "/index.json" else server.archive
                announced = server.announced if self.path != "/index.json" else None
                self.send_response(200)
                self.send_header("Content-Length", str(announced or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JavaServer]:
    """A machine without Java that trusts the test's server."""
    server = JavaServer(tmp_path)
    for variable in ("LABKIT_JAVA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(java, "_FOLDERS", ())
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache with space"))
    monkeypatch.setenv("CJDK_INDEX_URL", f"{server.url}/index.json")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    java.java_version.cache_clear()
    yield server
    server.close()


def test_a_jre_is_fetched_said_and_found_again_without_a_network(server: JavaServer) -> None:
    lines: list[str] = []
    home = java.find_java(17, lines.append)
    assert home.name == HOME
    assert java.java_version(home) == 21
    assert len(lines) == 1
    assert lines[0].startswith("found no Java 17 or newer; fetching a Java 21")
    assert server.requests == ["/index.json", "/jre.tar.gz"]
    server.close()
    assert java.find_java(21, lines.append) == home
    assert len(lines) == 1


def test_a_torn_download_is_an_error_and_the_next_try_succeeds(server: JavaServer) -> None:
    server.announced = len(server.archive) + 1000
    with pytest.raises(
        JavaNotFoundError, match=r"fetching one failed: .*(incomplete|IncompleteRead|broken)"
    ):
        java.find_java(17)
    server.announced = None
    assert java.find_java(17).name == HOME


def test_what_a_killed_download_left_is_removed(server: JavaServer, tmp_path: Path) -> None:
    """cjdk would wait for the folder of the other download to vanish, then fail, each time."""
    home = java.find_java(17)
    relative = home.relative_to(tmp_path / "cache with space" / "java")
    key = tmp_path / "cache with space" / "java" / relative.parts[0]
    left = key / "fetching" / Path(*relative.parts[1:3])
    (key / Path(*relative.parts[1:3])).rename(tmp_path / "away")
    left.mkdir(parents=True)
    assert java.find_java(17) == home


def test_a_jre_that_does_not_run_here_is_refused(server: JavaServer) -> None:
    server.archive = packed_jre("not a version")
    with pytest.raises(JavaNotFoundError, match="does not run on this machine"):
        java.find_java(17)


def test_a_server_that_is_away_is_named_with_the_hint(server: JavaServer) -> None:
    server.close()
    with pytest.raises(
        JavaNotFoundError, match="Java 17 or newer is needed; found: none; fetching one failed: "
    ) as error:
        java.find_java(17)
    assert "LABKIT_JAVA_HOME" in error.value.hint
