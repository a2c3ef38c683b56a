"""The documentation builds without a warning, and the site loads nothing from other hosts."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from songprint import errors, types

ROOT = Path(__file__).parents[2]
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("sphinx", reason="the documentation needs: pip install 'songprint[docs]'")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "--fail-on-warning",
            "--keep-going",
            "--quiet",
            "--doctree-dir",
            folder / "doctrees",
            ROOT / "docs",
            folder / "html",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "html"


def test_every_page_is_part_of_the_site(site):
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.with_suffix(".html").name).is_file()


def test_the_site_loads_nothing_from_other_hosts(site):
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 10
    for page in pages:
        resources = Resources()
        resources.feed(page.read_text(encoding="utf-8"))
        assert resources.found and not [address for address in resources.found if is_external(address)], page.name
    for sheet in site.rglob("*.css"):
        found = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", sheet.read_text(encoding="utf-8"))
        assert not [address for either in found if is_external(address := "".join(either))], sheet.name


def test_diagrams_are_drawn_from_their_sources():
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "docs/diagrams.py")
    sys.modules["diagrams"] = diagrams = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(diagrams)
    sources = sorted((ROOT / "docs/diagrams").glob("*.txt"))
    assert len(sources) >= 3
    for source in sources:
        drawn = (ROOT / "docs/figures" / source.name).with_suffix(".svg").read_text(encoding="utf-8")
        assert diagrams.svg(source.read_text(encoding="utf-8")) == drawn, "run: python docs/diagrams.py"


def test_the_reference_describes_fields_arguments_and_errors(site):
    html = (site / "reference.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", html)
    for words in ("songprint.open", "identify", "confidence", "LibraryNotFound", "false_accepts"):
        assert words in text
    for module in (types, errors):
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                assert f'id="{module.__name__}.{name}"' in html, f"docs/reference.md does not mention {name}"


class Resources(HTMLParser):
    """The addresses that a browser loads by itself; links that a reader may follow are not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        address = dict(attributes).get(LOADS.get(tag, ""))
        if address:
            self.found.append(address)


def is_external(address: str) -> bool:
    return address.startswith(("http:", "https:", "//"))
