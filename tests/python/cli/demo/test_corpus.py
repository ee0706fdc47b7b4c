"""The text of a Python installation."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from nestvec.cli.demo import corpus as demo_corpus
from nestvec.cli.demo.corpus import Document

TOOL = """
try:
    def first():
        "Does the first thing."
        def inner():
            "Has no dotted name."
except ImportError:
    pass

class Tool:
    "Is a useful tool."
    async def run(self):
        "Runs the tool now."
    def _hidden(self):
        "Not for you either."
    def short(self):
        "Too short."
"""


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    with pytest.MonkeyPatch.context() as patch:  # pytest replaces this hook
        patch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
        return demo_corpus.collect()


def test_documents_are_many_and_names_and_bodies_unique(documents: list[Document]) -> None:
    assert len(documents) >= 5000
    assert len({document.name for document in documents}) == len(documents)
    assert len({" ".join(document.body.split()) for document in documents}) == len(documents)
    assert [document.name for document in documents] == sorted(document.name for document in documents)


def test_well_known_names(documents: list[Document]) -> None:
    bodies = {document.name: document.body for document in documents}
    assert bodies["math.gcd"] == "Greatest Common Divisor."
    assert "string" in bodies["datetime.datetime.strptime"]
    assert "Delay execution" in bodies["time.sleep"]  # written in C
    assert "list" in bodies["os.listdir"]  # posix's, under the name that users import
    assert "pathname" in bodies["os.path.join"]
    assert "yield" in bodies["reference.yield"]
    assert bodies["str.join"].startswith("Concatenate")


def test_tests_and_private_names_stay_out(documents: list[Document]) -> None:
    for document in documents:
        parts = document.name.split(".")
        assert not {"idle_test", "idlelib", "site-packages", "tests"} & set(parts), document.name
        assert not document.name.startswith("test."), document.name
        assert not any(part.startswith("_") and part != "__future__" for part in parts), document.name


def test_another_process_collects_the_same(documents: list[Document]) -> None:
    code = """if True:
        import hashlib
        from nestvec.cli.demo import corpus as demo_corpus
        print(hashlib.sha256(repr(demo_corpus.collect()).encode()).hexdigest())
    """
    environment = {"PYTHONPATH": str(Path(demo_corpus.__file__).parents[3]), "PYTHONHASHSEED": "17"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert run.stdout.strip() == hashlib.sha256(repr(documents).encode()).hexdigest()


def test_spread_takes_evenly_from_the_whole_list(documents: list[Document]) -> None:
    chosen = demo_corpus.spread(documents, 100)
    assert len(set(chosen)) == 100
    assert chosen == sorted(chosen)
    assert len({document.name.split(".")[0] for document in chosen}) > 30
    assert demo_corpus.spread(documents, 10**9) == documents
    assert demo_corpus.spread([], 5) == []


def test_source_is_parsed_and_never_run(tmp_path: Path) -> None:
    package = tmp_path / "json"
    (package / "tests").mkdir(parents=True)
    package.joinpath("__init__.py").write_text('"""About the package."""\nraise SystemExit\n')
    package.joinpath("_private.py").write_text('"""Not for users, this."""\n')
    package.joinpath("broken.py").write_text('"""Not Python at all."""\ndef (\n')
    package.joinpath("tests", "test_it.py").write_text('"""A test of it."""\n')
    package.joinpath("tool.py").write_text(TOOL)
    assert list(demo_corpus.source_docstrings(tmp_path)) == [
        ("json", "About the package."),
        ("json.tool.first", "Does the first thing."),
        ("json.tool.Tool", "Is a useful tool."),
        ("json.tool.Tool.run", "Runs the tool now."),
    ]


def test_passages_end_at_paragraphs() -> None:
    text = "a" * 50 + "\n\n" + "b" * 40 + "\n\n\n\n" + "c" * 120 + "\n\n" + "d" * 10
    assert demo_corpus.passages(text, size=100) == ["a" * 50 + "\n\n" + "b" * 40, "c" * 120, "d" * 10]


def test_text_starts_with_the_name() -> None:
    assert Document("math.gcd", "Greatest Common Divisor.").text == "math.gcd: Greatest Common Divisor."
