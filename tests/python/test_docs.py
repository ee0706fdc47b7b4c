"""The Python code in README.md and docs/*.md runs, block after block, in a folder of its own.

A block after the line `<!-- needs a model -->` runs where NESTVEC_TEST_MODEL names an encoder's folder.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(?P<model><!-- needs a model -->\n\n?)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in path.read_text()
]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_code_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    names: dict[str, Any] = {"__name__": "__main__"}
    left_out = 0
    for block in BLOCK.finditer(text):
        if block["model"] and "NESTVEC_TEST_MODEL" not in os.environ:
            left_out += 1
            continue
        lines_before = text.count("\n", 0, block.start("code"))
        exec(compile("\n" * lines_before + block["code"], str(page), "exec"), names)
    if left_out:
        pytest.skip(f"{left_out} blocks need NESTVEC_TEST_MODEL; the others ran")


def test_every_block_is_found() -> None:
    assert ROOT / "docs" / "format.md" in PAGES
    for page in PAGES:
        text = page.read_text()
        assert len(BLOCK.findall(text)) == text.count("```python")
        assert text.count("<!-- needs a model -->") == sum(bool(block["model"]) for block in BLOCK.finditer(text))
