"""Sphinx's configuration: `make docs` builds offline.

It fails on a warning, or on a reference that leads nowhere.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # generated_pages

project = "labkit"
author = "the labkit authors"
project_copyright = author
version = release = version_of("labkit")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "generated_pages",
]
exclude_patterns = ["gallery"]
nitpicky = True
# Names in backticks are links where they have a place here; a parameter that is called as a module
# is none.
nitpick_ignore_regex = [("py:obj", ".*")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
autodoc_typehints = "none"  # the parameters' descriptions name the types
autodoc_member_order = "bysource"
maximum_signature_line_length = 88
add_module_names = False
numpydoc_show_class_members = False
default_role = "autolink"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "pydata_sphinx_theme"
html_title = f"labkit {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# else relative to the caller's folder
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "logo": {"text": "labkit"},
    "header_links_before_dropdown": 5,
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": []}
