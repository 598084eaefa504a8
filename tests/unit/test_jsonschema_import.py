"""jsonschema's slow format is prepared when it is used, not when altair is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "imports",
    [
        "from labkit import charts; import altair",
        "from labkit.notebook import rerun; import papermill",
    ],
)
def test_the_grammar_of_a_format_is_built_when_it_is_first_checked(imports: str) -> None:
    program = f"""
{imports}
import sys
assert "jsonschema" in sys.modules
assert "rfc3987_syntax" not in sys.modules
from jsonschema import FormatChecker
checker = FormatChecker()
print(checker.conforms("https://example.net/żółć", "iri"), checker.conforms("not an iri", "iri"))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.stdout == "True False\n", result.stderr
