"""Finding a Java: from the variables, the path and the usual folders.

Never one that is too old or does not run.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from labkit.errors import ConfigError, JavaNotFoundError, StackError
from labkit.stack import java


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Java, on which none can be fetched."""

    def refuse(_minimum: int) -> Path:
        raise java._FetchError("no network")

    for variable in ("LABKIT_JAVA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(java, "_FOLDERS", ())
    monkeypatch.setattr(java.sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(java, "_fetch", refuse)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    java.java_version.cache_clear()


def install(home: Path, says: str, *, code: int = 0) -> Path:
    """Put a program named java there that says what Java says."""
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    program.chmod(0o755)
    return home


def version(text: str) -> str:
    return f'openjdk version "{text}" 2025-04-15'


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (version("17.0.15"), 17),
        (version("21"), 21),
        (version("25-ea"), 25),
        ('java version "1.8.0_402"', 8),
        ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\n" + version("21.0.2"), 21),
        (
            "The operation couldn't be completed. Unable to locate a Java Runtime.".replace(
                "'", ""
            ),
            None,
        ),
        ("", None),
    ],
)
def test_the_major_version_is_read_from_what_java_says(
    says: str, expected: int | None, tmp_path: Path
) -> None:
    assert java.java_version(install(tmp_path / "jdk", says)) == expected


def test_a_folder_without_java_has_no_version(tmp_path: Path) -> None:
    assert java.java_version(tmp_path) is None


def test_a_java_that_may_not_be_run_has_no_version(tmp_path: Path) -> None:
    home = install(tmp_path / "jdk", version("21"))
    (home / "bin" / "java").chmod(0o644)
    assert java.java_version(home) is None


def test_a_file_that_is_no_program_has_no_version(tmp_path: Path) -> None:
    home = install(tmp_path / "jdk", version("21"))
    (home / "bin" / "java").write_bytes(b"\x00\x01 not a program")
    assert java.java_version(home) is None


def test_labkit_java_home_wins_over_java_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_JAVA_HOME", str(install(tmp_path / "a", version("21"))))
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "b", version("25"))))
    assert java.find_java(17) == tmp_path / "a"


def test_one_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_JAVA_HOME", str(install(tmp_path / "a", version("11.0.2"))))
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "b", version("17.0.1"))))
    assert java.find_java(17) == tmp_path / "b"


def test_java_on_the_path_is_followed_to_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = install(tmp_path / "jdk", version("21"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert java.find_java(17) == home


def test_the_environments_own_prefix_is_looked_at(tmp_path: Path) -> None:
    home = install(tmp_path / "prefix", version("21"))
    assert java.find_java(21) == home


def test_the_usual_folders_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_FOLDERS", (str(tmp_path / "jvm"),))
    install(tmp_path / "jvm" / "java-11", version("11"))
    mac = install(tmp_path / "jvm" / "temurin-21.jdk" / "Contents" / "Home", version("21"))
    assert java.find_java(21) == mac


def test_an_empty_folder_as_home_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "b", version("17"))))
    assert java.find_java(17) == tmp_path / "b"


def test_without_java_the_error_names_what_was_found_and_how_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = install(tmp_path / "old", version("11.0.2"))
    monkeypatch.setenv("LABKIT_JAVA_HOME", str(old))
    with pytest.raises(JavaNotFoundError) as caught:
        java.find_java(21)
    error = caught.value
    assert (
        error.message
        == f"Java 21 or newer is needed; found: 11 in {old}; fetching one failed: no network"
    )
    assert "LABKIT_JAVA_HOME" in error.hint
    assert "\n" not in error.hint
    assert error.minimum == 21
    assert isinstance(error, StackError)


def install_package_manager(folder: Path, name: str, output: str) -> None:
    """Put a program in the place of the package manager `name`.

    It prints what that prints when it is asked for JREs.
    """
    program = folder / name
    program.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{output}\nEND\n")
    program.chmod(0o755)


BOOKWORM = "openjdk-17-jre-headless - OpenJDK Java runtime, using Hotspot JIT (headless)"
NOBLE = "\n".join(
    f"openjdk-{version}-jre-headless - OpenJDK Java runtime" for version in (11, 17, 21, 25, 8)
)
ZYPPER = "i | java-17-openjdk-headless | OpenJDK | package\n  | java-21-openjdk-headless | OpenJDK | package"


@pytest.mark.parametrize(
    ("program", "output", "minimum", "command"),
    [
        ("apt-cache", BOOKWORM, 17, "`apt-get install openjdk-17-jre-headless`"),
        ("apt-cache", NOBLE, 17, "`apt-get install openjdk-21-jre-headless`"),
        ("apt-cache", NOBLE, 25, "`apt-get install openjdk-25-jre-headless`"),
        (
            "dnf",
            "java-1.8.0-openjdk-headless\njava-21-openjdk-headless",
            17,
            "`dnf install java-21-openjdk-headless`",
        ),
        ("zypper", ZYPPER, 17, "`zypper install java-21-openjdk-headless`"),
        (
            "pacman",
            "jre11-openjdk-headless\njre17-openjdk-headless",
            17,
            "`pacman -S jre17-openjdk-headless`",
        ),
        (
            "apk",
            "openjdk8-jre-headless\nopenjdk21-jre-headless",
            17,
            "`apk add openjdk21-jre-headless`",
        ),
        ("brew", "openjdk@11\nopenjdk@17\nopenjdk@21", 17, "`brew install openjdk@21`"),
    ],
)
def test_the_hint_names_a_package_that_the_package_manager_lists(
    program: str,
    output: str,
    minimum: int,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Debian 12, for one, has no openjdk-21-jre-headless."""
    install_package_manager(tmp_path, program, output)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaNotFoundError) as caught:
        java.find_java(minimum)
    assert command in caught.value.hint


@pytest.mark.skipif(not Path("/usr/bin/apt-cache").exists(), reason="no apt here")
def test_apt_itself_knows_the_package_of_the_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("apt-cache", "apt-get"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaNotFoundError) as caught:
        java.find_java(17)
    if package := re.search(r"`apt-get install (\S+)`", caught.value.hint):
        subprocess.run(["/usr/bin/apt-cache", "show", package[1]], check=True, capture_output=True)
    else:  # the lists of packages were never fetched on this machine
        assert "`apt-get update`" in caught.value.hint


def test_without_a_package_manager_the_hint_names_where_java_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(JavaNotFoundError) as caught:
        java.find_java(17)
    assert caught.value.hint == (
        "install a Java runtime 17 or newer from https://adoptium.net; or point LABKIT_JAVA_HOME at one"
    )


def test_options_of_java_are_split_as_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 '-Da=b c'")
    assert java.java_options() == ["-XX:TieredStopAtLevel=1", "-Da=b c"]
    monkeypatch.setenv("LABKIT_JAVA_OPTIONS", "'-Da")
    with pytest.raises(ConfigError, match="LABKIT_JAVA_OPTIONS must be options of Java"):
        java.java_options()
