"""Every public name, command, option, variable and error stands in the documentation.

Its commands parse.
"""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import labkit
from labkit import acl
from labkit.cli import build_parser
from labkit.errors import LabkitError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PYTHON_PAGES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference/python").glob("*.rst"))
)


@pytest.fixture(scope="module")
def command_page() -> str:
    """The commands' page as the site fills it in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        spec = spec_from_file_location("generated_pages", DOCS / "generated_pages.py")
        module = sys.modules["generated_pages"] = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.describe_commands()


def list_public_names() -> Iterator[str]:
    """The names of `labkit.__all__`, the methods of its classes, the functions of its modules."""
    for name in labkit.__all__:
        value = getattr(labkit, name)
        if isinstance(value, ModuleType):
            yield from (f"labkit.{name}.{member}" for member in getattr(value, "__all__", ()))
            continue
        yield name
        if inspect.isclass(value):
            yield from (f"{name}.{member}" for member in list_members(value))


def list_members(cls: type) -> list[str]:
    ours = [base for base in cls.__mro__ if base.__module__.startswith("labkit")]
    members = {name for base in ours for name, value in vars(base).items() if is_method(value)}
    return sorted(name for name in members if not name.startswith("_"))


def is_method(value: Any) -> bool:
    return (
        callable(value) or isinstance(value, (classmethod, property)) or hasattr(value, "attrname")
    )


def test_every_public_name_has_its_place_in_the_reference() -> None:
    directives = set(re.findall(r"^\.\. auto\w+:: (\S+)$", PYTHON_PAGES, flags=re.MULTILINE))
    names = list(list_public_names())
    assert len(names) > 130
    assert [name for name in names if name not in directives] == []


def test_every_error_has_its_place_in_the_reference() -> None:
    errors = [value for value in vars(labkit.errors).values() if inspect.isclass(value)]
    own = [
        error.__name__
        for error in errors
        if error.__module__ == "labkit.errors" and error.__name__[0] != "_"
    ]
    assert LabkitError.__name__ in own
    page = (DOCS / "reference/python/errors.rst").read_text(encoding="utf-8")
    assert [name for name in own if f".. autoexception:: {name}\n" not in page] == []


def test_an_error_in_a_notebook_names_its_section_of_the_page() -> None:
    import IPython  # noqa: F401  which is what asks an error how it is to be shown

    page = (DOCS / "reference/python/errors.rst").read_text(encoding="utf-8")
    parts = re.split(r"^(\S.*)\n-+\n", page, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    raised = [
        value
        for value in vars(labkit.errors).values()
        if inspect.isclass(value) and hasattr(value, "_section")
    ]
    section_errors = [
        error for error in raised if error.__name__ not in ("_Message", "LabkitError")
    ]
    assert len(section_errors) > 12
    for error in section_errors:
        assert f".. autoexception:: {error.__name__}\n" in sections[error._section]
        assert error("it")._render_traceback_()[-1].endswith(f"Reference, Errors, {error._section}")


def test_every_variable_is_described() -> None:
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "labkit").rglob("*.py"))
    )
    variables = set(re.findall(r"\bLABKIT_[A-Z_]*[A-Z]\b", sources))
    page = (DOCS / "reference/variables.md").read_text(encoding="utf-8")
    described = set(re.findall(r"`(LABKIT_[A-Z_]+)`", page))
    assert {"LABKIT_PROFILE", "LABKIT_CACHE_GB"} <= variables
    # examples of what the page describes
    of_profiles = {name for name in variables if name.startswith("LABKIT_PROD_")}
    assert variables - of_profiles - described == set()


def walk(
    parser: argparse.ArgumentParser, name: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from walk(child, f"{name} {word}")


def test_every_command_and_option_is_on_the_page_of_commands(command_page: str) -> None:
    missing = []
    for name, parser in walk(build_parser(), "labkit"):
        section = re.search(
            rf"^#+ {re.escape(name)}\n(.*?)(?=^#+ |\Z)",
            command_page,
            flags=re.DOTALL | re.MULTILINE,
        )
        if name == "labkit":
            continue
        if section is None:
            missing.append(name)
            continue
        options = [
            option for option in parser._option_string_actions if option not in ("-h", "--help")
        ]
        missing += [
            f"{name} {option}" for option in options if not re.search(rf"`{option}[ `]", section[1])
        ]
    assert missing == []


PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
LINES = [
    (page.stem, line.strip().removeprefix("$ "))
    for page in PAGES
    for block in re.findall(
        r"^ *```console\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    for line in block.splitlines()
    if line.strip().startswith("$ labkit ")
]


def test_every_command_in_the_pages_parses() -> None:
    assert len(LINES) > 15
    for page, line in LINES:
        words = shlex.split(re.split(r"\s[|>]\s", line)[0], comments=True)
        try:
            build_parser().parse_args(words[1:])
        except LabkitError as error:
            pytest.fail(f"{page}: {line}: {error}")


def test_an_administrator_reads_of_each_right_that_the_recipe_grants() -> None:
    page = (DOCS / "administrators/what-to-grant.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| Kafka, ")]
    rights = {row[0]: set(row[1].split(", ")) for row in rows}
    for grant in acl.kafka_grants("lab", "irc"):
        if grant.prefixed:
            named = f"| Kafka, {grant.kind.lower()}s `{grant.name}` (prefixed)"
            assert rights[named] == {name.title().replace("_", "") for name in grant.operations}
