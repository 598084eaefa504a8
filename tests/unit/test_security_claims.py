"""BEHAVIOURS 82: SECURITY.md claims only what a test shows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES, _, _ = TEXT.partition("## What is not promised")


def test_every_test_that_is_named_exists() -> None:
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )
    defined = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    matches = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(matches) > 30
    assert matches <= defined
    for path in re.findall(r"`((?:tests|docs)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"\n- ", PROMISES)[1:]
    assert len(promises) > 10
    for promise in promises:
        assert re.search(r"`test_\w+`|`tests/", promise), promise


def test_the_tool_of_make_env_is_checked_by_its_hash() -> None:
    """BEHAVIOURS 78: uv is installed by pip from requirements.lock, as all that uv installs."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [
        line for line in recipe.splitlines() if "pip install" in line and "test-spark" not in line
    ]
    env = [line for line in installs if "uv.txt" in line]
    assert len(env) == 1
    assert "--require-hashes" in env[0]
    assert "uv==" not in env[0]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"^uv==[\d.]+ \\\n    --hash=sha256:", lock, re.MULTILINE)
