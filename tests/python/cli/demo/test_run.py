"""The demo from end to end, with a tiny model in place of the model from PyPI."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real_model
from tiny_models import write_bert
from typer.testing import CliRunner

import nestvec
from nestvec.cli.app import app
from nestvec.cli.commands import demo
from nestvec.cli.demo import corpus as demo_corpus
from nestvec.cli.demo import model as demo_model
from nestvec.cli.demo import run as demo_run
from nestvec.cli.demo.corpus import Document
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


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


def good(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_first_and_second_run(tmp_path: Path, small: list[str]) -> None:
    first = good("--cache", tmp_path)
    assert "fetched and exported in" in first
    assert "150 from Python" in first
    assert "150 rows, binary, rescored with int8 (encoded and built in" in first
    for question in demo_run.QUESTIONS:
        answers = first.split(f"? {question}\n")[1].splitlines()[: demo_run.HITS]
        for line in answers:
            assert re.match(r" +-?\d\.\d{3}  module\.name\d+ +About the number \d+, a cat and \[the\] mat\.$", line), (
                line
            )
    for fact in ("texts/s on", "engine ", "tokenizing", "bytes; float32 takes 128", "to search", "with encoding"):
        assert fact in first
    made = files(tmp_path)
    assert len([name for name in made if name.endswith(".safetensors")]) == 2  # the model's and the table

    second = good("--cache", tmp_path)
    assert small == ["all-MiniLM-L6-v2"]
    assert files(tmp_path) == made
    assert second.count("(from an earlier run)") == 2
    assert "in the run that built it" in second
    for question in demo_run.QUESTIONS:
        assert first.split(f"? {question}\n")[1].splitlines()[:3] == second.split(f"? {question}\n")[1].splitlines()[:3]


@pytest.mark.usefixtures("small")
def test_the_printed_command_works_when_pasted(tmp_path: Path) -> None:
    output = good("--cache", tmp_path / "a folder with 'quotes'", "--limit", 70)
    assert "70 rows" in output
    command = output.split("Ask your own question:")[1].strip()
    assert len(command.splitlines()) == 1
    environment = {**os.environ, "PYTHONPATH": str(Path(nestvec.__file__).parents[1])}
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "module.name" in result.stdout


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stage", ["fetch", "export", "encode", "record"])
def test_an_interrupted_run_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
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
        result = invoke("--cache", tmp_path)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert "Ask your own question" in good("--cache", tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", [cut, Path.unlink])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: Callable[[Path], None], suffix: str) -> None:
    good("--cache", tmp_path)
    (victim,) = tmp_path.glob(f"*/python-*{suffix}")
    damage(victim)
    assert "encoded and built in" in good("--cache", tmp_path)
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


def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(_model: Path, _on_progress: demo_model.OnProgress) -> None:
        raise ModelError("pip could not download it")

    monkeypatch.setattr(demo_model, "fetch_model", fetch)
    result = invoke("--cache", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "nestvec: error: pip could not download it\n")
    tmp_path.joinpath("file").touch()
    result = invoke("--cache", tmp_path / "file")
    assert result.exit_code == 1
    assert result.stderr.startswith("nestvec: error: ")
    assert invoke("--limit", 0).exit_code == 2


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers", "onnx", "safetensors"])
def test_a_missing_extra_is_named_before_the_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: list[str], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = invoke("--cache", tmp_path)
    assert result.exit_code == 1
    wanted = f"nestvec demo needs {module}, which is not installed: pip install 'nestvec[cpu,export]'"
    assert result.stderr == f"nestvec: error: {wanted}\n"
    assert small == []


@pytest.mark.usefixtures("small")
def test_the_tests_take_the_model_that_the_demo_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_model, "CACHE", tmp_path)
    monkeypatch.delenv(real_model.VARIABLE, raising=False)
    assert real_model.find().startswith("no encoder: run `make demo`")
    good("--cache", tmp_path)
    assert real_model.find() == f"encoder: {os.environ[real_model.VARIABLE]}"
    assert nestvec.Encoder(os.environ[real_model.VARIABLE]).dim == 32
    for chosen in ("/another/model", ""):  # also none, if that is what somebody chose
        monkeypatch.setenv(real_model.VARIABLE, chosen)
        real_model.find()
        assert os.environ[real_model.VARIABLE] == chosen


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
