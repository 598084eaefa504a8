"""environment.yml and the lock name what pyproject.toml names."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {
    "python-confluent-kafka": "confluent-kafka",
    "prometheus_client": "prometheus-client",
    "python-duckdb": "duckdb",
    "python-xxhash": "xxhash",
}
CONDA_ONLY = {"python", "openjdk", "pip"}


def _split(requirement: str) -> tuple[str, frozenset[str]]:
    name, bounds = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", requirement.replace(" ", "")).groups()
    return name.lower(), frozenset(bounds.split(",")) - {""}


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _declared() -> dict[str, frozenset[str]]:
    project = _project()
    # what `make demo` needs
    extras = (project["optional-dependencies"][extra] for extra in ("stack", "irc", "geoip"))
    return dict(map(_split, [*project["dependencies"], *chain.from_iterable(extras)]))


def test_environment_yml_holds_the_same_requirements_as_pyproject() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    requirements = dict(
        _split(entry) for entry in [*entries, *pip] if isinstance(entry, str) and entry != "-e ."
    )
    requirements = {
        CONDA_NAMES.get(name, name): bounds
        for name, bounds in requirements.items()
        if name not in CONDA_ONLY
    }
    assert requirements == _declared()


def test_environment_yml_asks_for_the_python_of_pyproject() -> None:
    project = _project()
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python{project['requires-python']}" in entries


def _kafka_extras() -> dict[str, frozenset[str]]:
    """Return what confluent-kafka's extras ask for; a recipe cannot name extras."""
    wanted = dict[str, frozenset[str]]()
    for text in requires("confluent-kafka") or ():
        requirement = Requirement(text)
        if any(
            requirement.marker and requirement.marker.evaluate({"extra": extra})
            for extra in ("avro", "json", "protobuf")
        ):
            wanted[requirement.name.lower()] = frozenset(map(str, requirement.specifier))
    return wanted


def test_the_conda_recipe_holds_the_same_requirements_as_pyproject() -> None:
    recipe = yaml.safe_load((ROOT / ".ci" / "conda" / "recipe.yaml").read_text())
    found = dict(map(_split, recipe["requirements"]["run"]))
    assert found.pop("python") == frozenset({_project()["requires-python"]})
    found = {CONDA_NAMES.get(name, name): bounds for name, bounds in found.items()}
    plain = [re.sub(r"\[.*\]", "", dependency) for dependency in _project()["dependencies"]]
    assert found == dict(map(_split, plain)) | _kafka_extras()
    assert recipe["package"]["version"] == _project()["version"]
    assert recipe["about"]["summary"] == _project()["description"]


def test_the_lock_pins_every_requirement_with_a_hash_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))
    assert set(_declared()) <= pinned
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text
