"""How Sphinx builds the documentation: `make docs` writes it to build/docs.

Pages are Markdown (MyST). The Python reference is generated from docstrings, which are plain text with Google-style
sections and Markdown code spans. `_restructured` converts them, so that docstrings need no reStructuredText.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
import textwrap
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import songprint  # noqa: E402  (needs the path above)

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Songprint"
version = release = songprint.__version__
language = "en"
html_title = "Songprint"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["figures"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

default_role = "literal"  # `name` in a docstring is code, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Returns|Yields):$")
CODE = re.compile(r"(`[^`]+`)")


def setup(app: Sphinx) -> None:
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", _process, priority=400)


def _process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = _restructured(lines)
    if what == "property" and lines:
        lines[0] = lines[0].replace(": ", " – ")  # napoleon takes what stands before a colon for a type
    if inspect.isclass(thing) and (comments := _field_comments(thing)):
        lines += ["", *(f"- **{field}** – {_escaped(text)}" for field, text in comments.items()), ""]


def _restructured(lines: list[str]) -> list[str]:
    """A docstring with its special characters escaped and its indented blocks marked as literal."""
    result: list[str] = []
    block: int | None = None  # indentation of the paragraph before an indented block
    in_section = False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            result.append(line)
            continue
        block = None
        if SECTION.match(line.strip()):
            in_section = True
        elif line.strip() and indent == 0:
            in_section = False
        if line.lstrip().startswith((">>> ", "... ")) or _in_doctest(result):
            result.append(line)
            continue
        before = lines[number - 1] if number else ""
        if indent and not in_section and not before.strip() and not _is_list_item(line):
            result += ["::", "", line]
            block = 0
            continue
        result.append(_escaped(line))
    return result


def _in_doctest(written: list[str]) -> bool:
    """Whether the next line is the output of an example."""
    for line in reversed(written):
        if not line.strip():
            return False
        if line.lstrip().startswith(">>> "):
            return True
    return False


def _is_list_item(line: str) -> bool:
    return line.lstrip().startswith(("- ", "* "))


def _escaped(text: str) -> str:
    """Text in which only code spans are markup."""
    parts = CODE.split(text)
    parts[::2] = (
        re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) if not _is_list_item(part) else part for part in parts[::2]
    )
    return "".join(parts)


def _field_comments(thing: type) -> dict[str, str]:
    """The comments that describe the fields of a dataclass or the members of an enumeration."""
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return {}
    found: dict[str, str] = {}
    above: list[str] = []
    field = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.line
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if line.lstrip().startswith("#"):  # a comment on its own line belongs to the field below it
                above.append(text)
            elif named := re.match(r"    (\w+)\s*(?::|=)", line):
                field = named[1]
                found[field] = text
        elif token.type == tokenize.NEWLINE:
            named = re.match(r"    (\w+)\s*:", line)
            if above and named and named[1] not in found:
                found[named[1]] = " ".join(above)
            above = []
        elif token.type == tokenize.NAME and token.string == "def":
            break
    return {name: text for name, text in found.items() if not name.startswith("_")}
