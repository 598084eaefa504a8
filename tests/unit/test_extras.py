"""What a library that is not installed costs: the feature that needs it, with how to install it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from labkit.checks.extras import needs_extra
from labkit.errors import ConfigError

ROOT = Path(__file__).parents[2]
BLOCK = "import sys; sys.modules.update(dict.fromkeys({names!r})); "


def test_the_message_names_the_purpose_the_library_and_the_extra() -> None:
    message = r"^the tides needs a library that is not installed: no_such_tides"
    with pytest.raises(ConfigError, match=message) as caught:  # noqa: SIM117
        with needs_extra("tides", "the tides"):
            import no_such_tides  # type: ignore[import-not-found]  # noqa: F401
    assert caught.value.hint == "pip install 'labkit[tides]'"


@pytest.mark.parametrize(
    ("names", "arguments", "extra"),
    [
        (["bcrypt"], ["up"], "stack"),
        (["jgo"], ["up"], "stack"),
        (
            ["irc"],
            [
                "extract",
                "irc",
                "--server",
                "localhost",
                "--nick",
                "lab",
                "--channel",
                "#lab",
                "--topic",
                "irc",
            ],
            "irc",
        ),
        (["irc"], ["demo"], "irc"),
    ],
    ids=["stack-bcrypt", "stack-jgo", "extract-irc", "demo-irc"],
)
def test_a_command_without_its_extra_names_it_before_it_starts(
    names: list[str], arguments: list[str], extra: str, tmp_path: Path
) -> None:
    code = (
        BLOCK.format(names=names)
        + f"import labkit.__main__ as m; sys.argv = {['labkit', *arguments]!r}; sys.exit(m.run())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LABKIT_STATE": str(tmp_path / "state")},
    )  # fmt: skip
    assert result.returncode
    assert f"Hint: pip install 'labkit[{extra}]'" in result.stderr
    assert not (tmp_path / "state").exists()


def test_nothing_else_needs_an_extra() -> None:
    names = [
        "bcrypt",
        "jgo",
        "irc",
        "_maxminddb_geolite2",
        "keyring",
        "dask",
        "distributed",
        "pyspark",
        "xlsxwriter",
    ]
    code = BLOCK.format(names=names) + (
        "import labkit, labkit.lab, labkit.window, labkit.charts, labkit.enrich, labkit.doctor, labkit.pipelines, "
        "labkit.pipelines.indexer.indexer, labkit.notebook.widgets, labkit.stack.local"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_each_extra_that_a_hint_names_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {"dask", "excel", "geoip", "irc", "keyring", "spark", "stack"} <= set(declared)
