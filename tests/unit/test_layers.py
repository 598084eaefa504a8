"""Imports go one way, each vendor library has its owners, and the public names are few."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import labkit
from labkit import errors

PACKAGE = Path(labkit.__file__).parent
# from the top down: a room imports only rooms further down
ROOMS = [
    ["cli", "__main__"],
    ["demo"],
    ["notebook"],
    ["charts"],
    ["lab", "window"],
    ["compare", "doctor", "topics"],
    ["groups"],
    ["load"],
    ["enrich"],
    ["decode"],
    ["replay"],
    ["extract"],
    ["stack"],
    ["kafka", "elastic", "registry"],
    ["kafka_errors"],
    ["duck", "progress"],
    ["acl", "config", "dataframe", "folders", "interrupt", "looks", "names", "options", "times"],
    ["secret", "whole"],
    ["errors"],
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
OWNERS = {
    "confluent_kafka": {
        "kafka",
        "kafka_errors",
        "registry",
        "doctor",
        "replay",
        "groups",
        "decode",
        "load",
        "extract",
        "stack",
    },
    "fastavro": {"decode"},
    "google": {"decode"},
    "elasticsearch": {"elastic", "load"},
    "altair": {"charts"},
    "papermill": {"notebook"},
    "xxhash": {"replay", "extract"},
    "ipywidgets": {"notebook"},
    "irc": {"extract", "demo"},
    "jgo": {"stack"},
    "polars": {"compare", "decode", "enrich", "load", "charts"},
    "duckdb": {"duck"},
    "dask": {"load"},
    "distributed": {"load"},
    "pyspark": {"load"},
    "keyring": {"secret"},
    "maxminddb": {"enrich"},
}
# what makes a client belongs to one module
CONSTRUCTORS = {"Consumer", "Producer", "AdminClient", "Elasticsearch", "SchemaRegistryClient"}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Return each imported module and whether only for type checking."""
    tree = ast.parse(path.read_text())
    typing = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in typing) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"labkit.{alias.name}" for alias in node.names] if node.module == "labkit" else [node.module]
            found += [(name, id(node) in typing) for name in names]
    return found


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = _room(path)
    for module, typing in _imports(path):
        if module.startswith("labkit.") and not typing:
            below = module.split(".")[1]
            assert RANK[below] >= RANK[room], f"{room} imports {below}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_vendor_library_is_imported_by_its_owners_only(path: Path) -> None:
    for module, typing in _imports(path):
        vendor = module.split(".")[0]
        assert typing or _room(path) in OWNERS.get(vendor, {_room(path)}), f"{path.name} imports {vendor}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_clients_are_made_in_one_place(path: Path) -> None:
    if _room(path) in {"kafka", "elastic", "registry"}:
        return
    tree = ast.parse(path.read_text())
    calls = {ast.unparse(node.func).split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & CONSTRUCTORS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 475


def test_public_names_are_sorted_there_and_documented() -> None:
    assert list(labkit.__all__) == sorted(labkit.__all__)
    assert dir(labkit) == sorted(labkit.__all__)
    for name in labkit.__all__:
        assert inspect.getdoc(getattr(labkit, name)), name


def test_every_error_is_in_the_tree_of_the_errors_docstring() -> None:
    tree = inspect.getdoc(errors) or ""
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.LabkitError)]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__name__ in tree
        if kind is not errors.LabkitError:
            assert any(base.__module__ == "builtins" for base in kind.__mro__[1:-2]), "also what a caller expects"
