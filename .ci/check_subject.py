#!/usr/bin/env python3
"""Check a commit's subject: at most 72 characters, and a verb in the imperative.

Git's commit-msg hook calls it.

    .ci/check_subject.py FILE        FILE holds the message, as git gives it to the hook

CONTRIBUTING.md has the rules. Subjects that git makes (Merge, Revert, fixup!, squash!, amend!)
pass.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MAX_LENGTH = 72
MADE_BY_GIT = re.compile(r'(Merge |Revert "|(fixup|squash|amend)! )')
SCISSORS = "# ------------------------ >8 ------------------------"
# "Added", "Adding", "Adds": not imperative. A verb that only looks like one stands in the list.
ENDINGS = re.compile(r"(ed|ing|[^aisu]s)$")
IMPERATIVES = {
    "bleed", "breed", "bring", "embed", "exceed", "feed", "need", "ping", "proceed", "ring", "seed", "shed", "sing",
    "speed", "spring", "string", "succeed", "swing", "weed",
}  # fmt: skip


def read_lines(message: str) -> list[str]:
    """Return the message's lines without git's comments, and without empty lines at the start."""
    text = message.split(SCISSORS, maxsplit=1)[0]
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def find_faults(message: str) -> list[str]:
    """Return what is wrong with a commit message, a sentence each."""
    lines = read_lines(message)
    if not lines:
        return ["the message must have a subject"]
    subject = lines[0]
    if MADE_BY_GIT.match(subject):
        return []
    faults = []
    if len(subject) > MAX_LENGTH:
        faults.append(f"the subject must have at most {MAX_LENGTH} characters, not {len(subject)}")
    word = re.split(r"[\s:,]", subject, maxsplit=1)[0]
    if not word[:1].isupper():
        faults.append(f"the subject must begin with a capital letter, not {word!r}")
    if ENDINGS.search(word.lower()) and word.lower() not in IMPERATIVES:
        faults.append(
            f"the subject must begin with a verb in the imperative (Add, Fix, Move), not {word!r}"
        )
    if subject.endswith("."):
        faults.append("the subject must not end with a full stop")
    if len(lines) > 1 and lines[1]:
        faults.append("an empty line must stand between subject and body")
    return faults


def main() -> int:
    """Print the faults of the message in the file that is named; return 1 where there are any."""
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} FILE", file=sys.stderr)
        return 2
    faults = find_faults(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for fault in faults:
        print(f"commit message: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
