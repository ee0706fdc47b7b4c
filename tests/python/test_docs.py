"""README.md and docs/: the Python code runs, block after block, in a new folder; links have targets; one word has one
meaning.

A block after the line `<!-- needs a model -->` runs where NESTVEC_TEST_MODEL names an encoder's folder, one after
`<!-- needs CUDA -->` where a device can be used, or is emulated, and one after `<!-- needs faiss -->` or another of
PEERS where that library can be imported. A block may need several: `<!-- needs a model, faiss -->`.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import nestvec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^(?:<!-- needs (?P<needs>[\w, -]+) -->\n\n?)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
PEERS = {"faiss": "faiss", "sentence-transformers": "sentence_transformers", "usearch": "usearch"}  # in marks: modules
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "benchmarks" / "README.md", *sorted(DOCS.rglob("*.md"))]
SOURCES = ("python/nestvec/**/*.py", "cpp/**/*.?pp", "cuda/**/*.cu*", "benchmarks/**/*.py")
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def prose(text: str) -> str:
    """The text without code and without tables, which may be the output of programs."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\|.*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def has(need: str) -> bool:
    """Whether what a mark names is there. Raises KeyError for another mark."""
    if need == "a model":
        return bool(os.environ.get("NESTVEC_TEST_MODEL"))
    if need == "CUDA":
        return "cuda" in nestvec.backends()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(PEERS[need])
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("page", WITH_CODE, ids=names(WITH_CODE))
def test_code_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    variables: dict[str, Any] = {"__name__": "__main__"}
    left_out: set[str] = set()
    for block in BLOCK.finditer(text):
        missing = {need for need in (block["needs"] or "").split(", ") if need and not has(need)}
        if missing:
            left_out |= missing
            continue
        lines_before = text.count("\n", 0, block.start("code"))
        exec(compile("\n" * lines_before + block["code"], str(page), "exec"), variables)
    if left_out:
        pytest.skip(f"blocks that need {' or '.join(sorted(left_out))} were left out; the others ran")


def test_the_readme_shows_the_printed_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    block = BLOCK.search((ROOT / "README.md").read_text())
    assert block is not None
    exec(block["code"], {})
    printed = re.findall(r"print\(.*\)  # (.+)", block["code"])
    assert capsys.readouterr().out.splitlines() == printed


def test_every_block_is_found() -> None:
    assert {ROOT / "README.md", DOCS / "format.md"} <= set(WITH_CODE)
    for page in WITH_CODE:
        text = page.read_text()
        assert len(BLOCK.findall(text)) == text.count("```python")
        assert text.count("<!-- needs ") == sum(bool(block["needs"]) for block in BLOCK.finditer(text))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if re.match(r"\w+://", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall((DOCS / "README.md").read_text())}
    assert set(DOCS.rglob("*.md")) - {DOCS / "README.md"} <= linked


def test_glossary() -> None:
    text = (DOCS / "glossary.md").read_text()
    terms = re.findall(r"^- \*\*(.+?)\*\*", text, re.MULTILINE)
    assert len(terms) == len(set(terms)) > 40
    groups = re.split(r"^## .+\n", text, flags=re.MULTILINE)[1:-1]
    for group in groups:
        of_group = re.findall(r"^- \*\*(.+?)\*\*", group, re.MULTILINE)
        assert of_group == sorted(of_group, key=str.lower)


def unwanted_words() -> re.Pattern[str]:
    """The words of the glossary's last table, except in names in code: `x.lookup`, `lookup()`, `blas_threshold`."""
    table = (DOCS / "glossary.md").read_text().split("## Words that are not used")[1]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", table, re.MULTILINE)[1:]
    assert rows
    words = "|".join(re.escape(word) for row in rows for word in row.split(", "))
    return re.compile(rf"(?<![\w.])(?:{words})(?![\w(=])", re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_words_that_are_not_used(page: Path) -> None:
    assert not unwanted_words().findall(prose(page.read_text()))


@pytest.mark.parametrize("pattern", SOURCES)
def test_words_that_are_not_used_in_sources(pattern: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths
    unwanted = unwanted_words()
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if unwanted.search(line)
    ]
    assert not found, "\n".join(["docs/glossary.md names the words to use instead:", *found])


def test_floors_of_the_cuda_kernels() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.floors", "--check", DOCS / "performance" / "cuda.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
