"""The Python code in README.md and docs/*.md runs, block after block, in a folder of its own.

A block after the line `<!-- needs a model -->` runs where NESTVEC_TEST_MODEL names an encoder's folder, and one after
`<!-- needs CUDA -->` where a device can be used, or is emulated.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nestvec

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:<!-- needs (?P<needs>a model|CUDA) -->\n\n?)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
PAGES = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in path.read_text()
]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_code_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    names: dict[str, Any] = {"__name__": "__main__"}
    left_out: set[str] = set()
    has = {"a model": "NESTVEC_TEST_MODEL" in os.environ, "CUDA": "cuda" in nestvec.backends()}
    for block in BLOCK.finditer(text):
        if not has.get(block["needs"], True):
            left_out.add(block["needs"])
            continue
        lines_before = text.count("\n", 0, block.start("code"))
        exec(compile("\n" * lines_before + block["code"], str(page), "exec"), names)
    if left_out:
        pytest.skip(f"blocks that need {' or '.join(sorted(left_out))} were left out; the others ran")


def test_every_block_is_found() -> None:
    assert ROOT / "docs" / "format.md" in PAGES
    for page in PAGES:
        text = page.read_text()
        assert len(BLOCK.findall(text)) == text.count("```python")
        assert text.count("<!-- needs ") == sum(bool(block["needs"]) for block in BLOCK.finditer(text))


def test_floors_of_the_cuda_kernels() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "gpu_floors.py", "--check", ROOT / "docs" / "performance" / "cuda.md"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
