"""The commit-msg hook: a subject is short and in the imperative, and git's own subjects pass."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "check_subject.py"
SPEC = spec_from_file_location("check_subject", SCRIPT)
check_subject = module_from_spec(SPEC)
SPEC.loader.exec_module(check_subject)


@pytest.mark.parametrize(
    "message",
    [
        "Fix lag of a held partition without a commit",
        "Fix lag\n\nThe reason, however long the line is, because a body may be as wide as whoever writes it likes it.",
        "# a comment of git\n\nPass the guard on\n# another",
        "Address the review",
        "Feed the spool: records wait on the disk",
        "Add " + "a" * 68,
        'Revert "Added a thing that nobody will ever want to have had, whatever its length may be"',
        "Merge branch 'a'",
        "fixup! added",
        "Add a thing\n# ------------------------ >8 ------------------------\ndiff --git a/x b/x",
    ],
)
def test_good_messages_pass(message: str) -> None:
    assert check_subject.find_faults(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Add " + "a" * 69, "at most 72 characters, not 73"),
        ("Added a thing", "imperative (Add, Fix, Move), not 'Added'"),
        ("Adds a thing", "imperative (Add, Fix, Move), not 'Adds'"),
        ("Adding a thing", "imperative (Add, Fix, Move), not 'Adding'"),
        ("add a thing", "capital letter, not 'add'"),
        ("Add a thing.", "full stop"),
        ("Add a thing\nfor a reason", "empty line"),
        ("\n# only a comment\n", "must have a subject"),
    ],
)
def test_each_fault_is_named(message: str, fault: str) -> None:
    assert any(fault in sentence for sentence in check_subject.find_faults(message))


def test_the_hook_stops_a_commit_with_the_reason(tmp_path: Path) -> None:
    """The command that pre-commit calls, on a file as git writes it."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    hook = next(hook for hook in hooks if hook.get("stages") == ["commit-msg"])
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text("Added " + "a" * 80 + "\n")
    result = subprocess.run(
        [sys.executable, ROOT / hook["entry"], file], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "at most 72 characters, not 86" in result.stderr
    file.write_text("Add a check\n")
    subprocess.run([sys.executable, ROOT / hook["entry"], file], check=True)
