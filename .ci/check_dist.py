"""Check the wheel and the sdist of `make dist`: they hold all that labkit needs, and no more."""

from __future__ import annotations

import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IN_WHEEL = (
    "labkit/py.typed",
    "labkit/charts/world.json",
    "labkit/notebook/browse/page/browse.css",
    "labkit/notebook/course/irc-sample.jsonl.gz",
    "labkit/stack/artefacts.toml",
    *(
        f"labkit/notebook/course/{path.name}"
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "labkit").rglob("*.py"))),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "labkit").rglob("*.js"))),
)
IN_SDIST = ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "Makefile", "pyproject.toml", "requirements.lock",
            "docs/conf.py", "tests/conftest.py", "notebooks/00-tour.ipynb")  # fmt: skip
FOREIGN = ("runs/", "build/", "test-output/", "site/", ".venv", "__pycache__", ".ipynb_checkpoints")


def find_faults(names: set[str], needed: tuple[str, ...], archive: Path) -> list[str]:
    """Return a line for each name that is missing or must not be there."""
    missing = [f"{archive.name} lacks {name}" for name in needed if name not in names]
    foreign = [
        f"{archive.name} must not have {name}" for name in sorted(names) if name.startswith(FOREIGN)
    ]
    return missing + foreign


def main(folder: Path) -> int:
    """Check the one wheel and the one sdist in `folder`."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    wheel = folder / f"labkit-{version}-py3-none-any.whl"
    sdist = folder / f"labkit-{version}.tar.gz"
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    faults = find_faults(in_wheel, IN_WHEEL, wheel) + find_faults(in_sdist, IN_SDIST, sdist)
    faults += [
        f"{wheel.name} must not have {name}" for name in in_wheel if not name.startswith("labkit")
    ]
    if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text():
        faults.append(f"CHANGELOG.md has no section [{version}]")
    if f"\nversion: {version}\n" not in (ROOT / "CITATION.cff").read_text():
        faults.append(f"CITATION.cff must say version {version}")
    print(
        "\n".join(faults)
        or f"{wheel.name} ({wheel.stat().st_size / 1e6:.1f} MB), {sdist.name}: complete"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
