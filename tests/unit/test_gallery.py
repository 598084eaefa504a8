"""The gallery's maker takes the picture that a notebook names.

What the README shows is there and small.
"""

from __future__ import annotations

import base64
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat.v4 as nbf

ROOT = Path(__file__).parents[2]
SPEC = spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
gallery = sys.modules["gallery"] = module_from_spec(SPEC)
SPEC.loader.exec_module(gallery)


def cell(png, *tags):
    output = nbf.new_output("display_data", {"image/png": base64.b64encode(png).decode()})
    return nbf.new_code_cell("x", outputs=[output], metadata={"tags": list(tags)})


def test_the_tagged_picture_is_taken_else_the_first():
    head = nbf.new_markdown_cell("# Title <1>\n\nWhat `it` is,\nin two lines.\n\nMore.")
    tagged = nbf.new_notebook(cells=[head, cell(b"one"), cell(b"two", "gallery")])
    piece = gallery.piece("a", tagged)
    assert piece == gallery.Piece("a", "Title <1>", "What it is, in two lines.", b"two")
    assert (
        gallery.piece("a", nbf.new_notebook(cells=[head, cell(b"one"), cell(b"two")])).picture
        == b"one"
    )
    bare = gallery.piece("b", nbf.new_notebook(cells=[nbf.new_code_cell("1")]))
    assert bare == gallery.Piece("b", "b", "", None)
    page = gallery.index([piece, bare])
    assert "Title &lt;1&gt;" in page
    assert page.count("<img") == 1


def test_the_readmes_pictures_are_there_and_small():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = {ROOT / name for name in re.findall(r'(?:src="|\]\()(docs/[^")]+\.png)', text)}
    assert len(shown) >= 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in shown)
    assert (ROOT / "docs" / "browse.png").stat().st_size < 320_000
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "gallery").glob("*.*")) < 1_500_000


def test_every_notebook_is_in_the_gallery_with_its_picture():
    page = (ROOT / "docs" / "gallery" / "index.html").read_text(encoding="utf-8")
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(re.findall(r'<img src="([^"]+)\.png"', page)) == names
    assert {path.stem for path in (ROOT / "docs" / "gallery").glob("*.png")} == names
