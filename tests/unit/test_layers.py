"""Imports go one way, each vendor library has its owners, and the public names are few."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import runpy
from pathlib import Path

import labkit
from labkit import errors

PACKAGE = Path(labkit.__file__).parent
# from the top down: a room imports only rooms further down
ROOMS = [
    ["cli", "__main__"],
    ["demo"],
    ["notebook"],
    ["charts"],
    ["consumers", "discovery", "engines", "export", "lab", "queries", "window"],
    ["compare", "doctor", "topics", "trace"],
    ["find"],
    ["pipelines", "sinks"],
    ["es"],
    ["files"],
    ["profile"],
    ["read_spec", "reads"],
    ["groups"],
    ["enrich"],
    ["decode"],
    ["replay"],
    ["stack"],
    ["kafka", "elastic", "registry"],
    ["acl", "tables"],
    ["times"],
    ["config", "msk", "spoken_times", "waiting"],
    ["checks"],
    ["errors"],
    ["text"],
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
OWNERS = {
    "confluent_kafka": {
        "kafka",
        "registry",
        "doctor",
        "replay",
        "groups",
        "decode",
        "es",
        "pipelines",
        "sinks",
        "stack",
    },
    "fastavro": {"decode"},
    "google": {"decode"},
    "elasticsearch": {"elastic", "es", "pipelines", "sinks"},
    "msgspec": {"text"},
    "altair": {"charts"},
    "papermill": {"notebook"},
    "xxhash": {"pipelines", "replay", "sinks"},
    "anywidget": {"notebook"},
    "ipywidgets": {"notebook"},
    "irc": {"pipelines", "demo"},
    "jgo": {"stack"},
    "polars": {"compare", "decode", "enrich", "es", "profile", "sinks", "charts", "notebook"},
    "duckdb": {"tables/duckdb_sql.py"},
    "dask": {"sinks"},
    "distributed": {"sinks"},
    "pyspark": {"sinks"},
    "keyring": {"config/secrets.py"},
    "xlsxwriter": {"files"},
    "maxminddb": {"enrich"},
    "prometheus_client": {"groups"},
}
MOST_LINES = 475
# what makes a client belongs to one module
CONSTRUCTORS = {"Consumer", "Producer", "AdminClient", "Elasticsearch", "SchemaRegistryClient"}
MAKERS = {"kafka/client.py", "kafka/groups_child.py", "elastic.py", "registry.py"}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def _nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a module, the module first; it is parsed once for all tests."""
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def _imports(path: Path) -> list[tuple[str, bool]]:
    """Return each imported module and whether only for type checking."""
    typing = {
        id(node)
        for block in _nodes(path)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    imports = []
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            imports += [(alias.name, id(node) in typing) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"labkit.{alias.name}" for alias in node.names]
                if node.module == "labkit"
                else [node.module]
            )
            imports += [(name, id(node) in typing) for name in names]
    return imports


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_rooms_import_only_rooms_below_them() -> None:
    wrong = [
        f"{_name(path)} imports {module}"
        for path in MODULES
        for module, typing in _imports(path)
        if module.startswith("labkit.")
        and not typing
        and RANK[module.split(".")[1]] < RANK[_room(path)]
    ]
    assert not wrong, "\n".join(wrong)


def test_what_reads_production_and_what_writes_to_it_never_meet() -> None:
    apart = {"sinks": "pipelines", "pipelines": "sinks"}
    wrong = [
        f"{_name(path)} imports {module}"
        for path in MODULES
        for module, _ in _imports(path)
        if module.startswith(f"labkit.{apart.get(_room(path), '-')}")
    ]
    assert not wrong


def test_vendor_libraries_are_imported_by_their_owners_only() -> None:
    wrong = [
        f"{_name(path)} imports {module}"
        for path in MODULES
        for module, typing in _imports(path)
        if not typing
        and not {_room(path), _name(path)} & OWNERS.get(module.split(".")[0], {_room(path)})
    ]
    assert not wrong, "\n".join(wrong)


@functools.cache
def _calls(path: Path) -> set[str]:
    called = [node.func for node in _nodes(path) if isinstance(node, ast.Call)]
    return {
        function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
        for function in called
    }


def test_clients_are_made_in_one_place() -> None:
    wrong = [
        f"{_name(path)} makes a {client}"
        for path in MODULES
        if _name(path) not in MAKERS
        for client in sorted(_calls(path) & CONSTRUCTORS)
    ]
    assert not wrong, "\n".join(wrong)


WRITES = re.compile(
    r"\.producer\(|\.bulk\(|\b(create|delete)_topics\(|\bincremental_alter_configs\("
    r"|\bcreate_(acls|partitions)\(|\bindices\.(create|delete|put_\w+)\(|\bput_mapping\("
    r"|\b(alter_consumer_group_offsets|delete_consumer_groups)\(|\.commit\("
    r"|\bdelete_(records|by_query)\("
)


def test_what_changes_a_server_is_in_the_modules_that_the_architecture_page_lists() -> None:
    page = (PACKAGE.parent / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.split("These modules, and no others")[1].split("Two administrative")[0]
    listed = {
        module
        for line in table.splitlines()
        if line.startswith("| `")
        for module in re.findall(r"`([\w/]+\.py)`", line.split("|")[1])
    }
    writing = {
        str(path.relative_to(PACKAGE)) for path in MODULES if WRITES.search(path.read_text())
    }
    assert writing == listed


def test_the_architecture_page_names_classes_and_functions_that_exist() -> None:
    page = (PACKAGE.parent / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.split("## Where to add")[1].split("\n## ")[0]
    names = set(re.findall(r"`(?:\w+\.)*([A-Za-z_]\w*)`", table)) - {"labkit", "py"}
    sources = "\n".join(path.read_text() for path in MODULES)
    definition = r"(class|def) {0}\b|^ *(self\.)?{0}(:[^=\n]+)? =|^    {0}:"
    missing = [name for name in names if not re.search(definition.format(name), sources, re.M)]
    assert len(names) > 20
    assert not missing


def test_the_picture_of_the_structure_is_that_of_the_imports() -> None:
    docs = PACKAGE.parent / "docs"
    make_picture = runpy.run_path(str(docs / "structure.py"))["make_picture"]
    assert (docs / "structure.svg").read_text() == make_picture(), "make structure draws it anew"


def test_coordinators_are_asked_by_the_process_that_may_die_only() -> None:
    """These calls of librdkafka's admin client can end their process.

    They do when a coordinator moves or a broker freezes.
    """
    calls = {
        "list_consumer_group_offsets",
        "alter_consumer_group_offsets",
        "delete_consumer_group_offsets",
    }
    calls |= {"describe_consumer_groups", "delete_consumer_groups"}
    callers = {_name(path) for path in MODULES if _calls(path) & calls}
    assert callers == {"kafka/groups_child.py"}


def test_modules_are_small_and_say_what_they_are() -> None:
    modules = {_name(path): _nodes(path)[0] for path in MODULES}
    wrong = [
        f"{name} has no docstring"
        for name, module in modules.items()
        if not (isinstance(module, ast.Module) and ast.get_docstring(module))
    ]
    lines = {_name(path): len(path.read_text().splitlines()) for path in MODULES}
    wrong += [
        f"{name} has {count} lines, more than {MOST_LINES}"
        for name, count in lines.items()
        if count > MOST_LINES
    ]
    assert not wrong, "\n".join(wrong)


TESTS = Path(__file__).parents[1]


def test_summaries_of_docstrings_stay_within_100_columns() -> None:
    """ruff's D205 wants a summary in one line, but takes up to 120 columns."""
    long_lines = [
        f"{path}:{number}"
        for path in [*MODULES, *TESTS.rglob("*.py")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100 and line.lstrip().startswith(('"""', 'r"""'))
    ]
    assert not long_lines, "\n".join(long_lines)


def test_no_test_module_imports_from_another() -> None:
    """What two of them need is in tests/support."""
    modules = {path.stem for path in TESTS.rglob("test_*.py")} | {"conftest"}
    wrong = [
        f"{path.relative_to(TESTS)} imports {module}"
        for path in sorted(TESTS.rglob("*.py"))
        for module, _typing in _imports(path)
        if module.split(".")[0] in modules
    ]
    assert not wrong, "\n".join(wrong)


def test_public_names_are_sorted_there_and_documented() -> None:
    assert list(labkit.__all__) == sorted(labkit.__all__)
    assert dir(labkit) == sorted(labkit.__all__)
    for name in labkit.__all__:
        assert inspect.getdoc(getattr(labkit, name)), name


def test_every_public_name_of_a_room_is_there() -> None:
    """A name in `__all__` is checked by nothing else: `labkit.enrich.named` was once renamed."""
    for path in [PACKAGE / "__init__.py", *MODULES]:
        if "__all__ = [" not in path.read_text():
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        assert not [name for name in module.__all__ if not hasattr(module, name)], module


def test_every_error_is_in_the_tree_of_the_errors_docstring() -> None:
    tree = inspect.getdoc(errors) or ""
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.LabkitError)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__name__ in tree
        if kind is not errors.LabkitError:
            assert any(base.__module__ == "builtins" for base in kind.__mro__[1:-2]), (
                "also what a caller expects"
            )


def test_the_architecture_page_lists_the_rooms_in_their_order_and_files_that_exist() -> None:
    root = PACKAGE.parent
    page = (root / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = page.split("## Rooms")[1].split("```text\n")[1].split("```")[0]
    listed = [re.split(r" {2,}", line)[0].split() for line in block.splitlines()]
    assert [sorted(line) for line in listed] == [sorted(rooms) for rooms in ROOMS]
    names = re.findall(r"`([a-z_]+/[a-z_/]*(?:[a-z_]+\.py)?)`", page)
    assert len(names) > 20
    missing = [
        name for name in names if not (PACKAGE / name).exists() and not (root / name).exists()
    ]
    assert not missing
