"""How the site is built: ``make site`` writes it to build/site.

The reference documents the public names alone: what ``morphoscope`` and its sub-packages export
(tests/test_public_names.py). They are what people import and what stays; the three hundred modules behind
them would bury them, and importing each costs twice the time. They are read by autodoc rather than by
sphinx-autoapi: exports are resolved on first use, and a parser of the source would not see them. A link in
a docstring to a name that exists and has no page is shown as code; one to a name that does not exist is an
error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
# For the tutorials: the commands of this environment, and the stand-in for the surveys' services.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE.parent / "tests" / "helpers"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

from morphoscope.version import __version__  # noqa: E402

project = "Morphoscope"
author = "The Morphoscope developers"
copyright = author  # noqa: A001
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "myst_nb",
    "sphinx_copybutton",
    "root_pages",
    "whole_lines",
    "reference",
]
exclude_patterns = ["_ext"]
nitpicky = True
highlight_language = "none"
smartquotes = False  # --set stays --set
suppress_warnings = ["myst.header"] + ["myst-nb.lexer"] * (os.environ.get("TUTORIALS") == "off")

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # as GitHub makes them, so that links to headings work in both
myst_links_external_new_tab = False

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

nb_execution_mode = os.environ.get("TUTORIALS", "force")  # TUTORIALS=off: text alone
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True

html_theme = "furo"
html_title = f"Morphoscope {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_domain_indices = False
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"
