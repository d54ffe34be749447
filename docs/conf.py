"""Sphinx: the pages of docs/ and the reference from the docstrings. `make docs` builds them; a warning is an error."""

import sys
from pathlib import Path

import dense_hf

sys.path.insert(0, str(Path(__file__).parent))  # markdown_docstrings

project = "dense_hf"
author = "The dense_hf authors"
copyright = author
version = release = dense_hf.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "markdown_docstrings"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Dense prediction in hard scenes", "page_width": "1180px"}

myst_enable_extensions = ["fieldlist"]
myst_heading_anchors = 3

napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them in words of the docstring already
