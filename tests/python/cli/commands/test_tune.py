"""nestvec tune: output for people and machines, files, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nestvec
from nestvec.cli.app import app
from nestvec.tuning import measure as tune_measure

PACKAGE = str(Path(nestvec.__file__).parents[1])


@pytest.fixture(autouse=True)
def _no_time_for_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_measure, "SECONDS_TIMED", 0.0)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "docs.npy"
    np.save(path, np.random.default_rng(5).normal(size=(400, 16)).astype(np.float32))
    return path


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["tune", *(str(argument) for argument in arguments)])


def good(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)


def error(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("nestvec: error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def test_the_table_and_the_choice(vectors: Path) -> None:
    output = good(vectors, "--codecs", "float32,int8,binary,binary+int8", "--max-bytes", "40")
    lines = output.splitlines()
    assert lines[0] == "docs.npy  360 rows of 16, 40 queries, cosine"
    assert lines[1].startswith("note: No queries were given, so 40 of the rows were held out as queries.")
    table = [line for line in lines if re.match(r"[* ][> ] ", line)]
    assert table[0].split()[:3] == ["candidate", "B/row", "recall@10"]
    assert "queries/s" in table[0]
    bytes_per_row = [float(re.split(r" {2,}", line[4:])[1]) for line in table[1:]]
    assert bytes_per_row == sorted(bytes_per_row)
    assert table[1].startswith("*")  # it has the fewest bytes
    int8 = next(line for line in table if " int8 " in line and "+" not in line)
    assert int8.startswith("*")
    assert "choice  int8" in output
    assert "why     The best recall@10 of the 8 candidates that fit 40 bytes a row." in output
    assert '  table = nestvec.Table.build(x, codec="int8")\n  hits = table.search(queries, k=10)\n' in output


def test_nothing_fits_and_something_is_skipped(vectors: Path) -> None:
    output = good(vectors, "--codecs", "int8,pq99x8", "--max-bytes", "1")
    assert "not measured: pq99x8: " in output
    assert "choice  none" in output
    assert "why     No candidate fits 1 bytes a row. The nearest is int8: " in output
    assert "Table.build" not in output


def test_json(vectors: Path) -> None:
    arguments = (vectors, "--queries", vectors, "--codecs", "int8,binary", "--metric", "ip", "--limit", "100", "--json")
    value = json.loads(good(*arguments))
    assert (value["rows"], value["queries"], value["metric"]) == (100, 400, "ip")
    assert [found["codec"] for found in value["measured"]] == [["int8"], ["binary"], ["binary"]]
    assert 'metric="ip"' in value["measured"][0]["call"]
    assert value["notes"][0].startswith("Measured on 100 of 400 rows")
    assert value["written"] == []
    assert not value["interrupted"]


def test_errors(tmp_path: Path, vectors: Path) -> None:
    assert "there is no file" in error(tmp_path / "none.npy")
    assert "min_recall is 95.0; expected a share" in error(vectors, "--min-recall", "95")
    assert "there is no folder" in error(vectors, "--report", tmp_path / "no" / "report.html")
    assert "a character device is no place for a file" in error(vectors, "--report", "/dev/null")
    assert "expected a folder, or the name of a new one" in error(vectors, "--plots", vectors)
    (tmp_path / "link").symlink_to("no folder")
    assert "expected a folder, or the name of a new one" in error(vectors, "--plots", tmp_path / "link")
    (tmp_path / "bad.npy").write_bytes(b"no")
    assert "bad.npy is not a .npy file of vectors" in error(tmp_path / "bad.npy")
    assert "queries have 16 columns" in error(_saved(tmp_path, (9, 4)), "--queries", vectors)
    assert invoke(vectors, "--limit", "1").exit_code == 2


def _saved(folder: Path, shape: tuple[int, int]) -> Path:
    np.save(path := folder / "other.npy", np.ones(shape, np.float32))
    return path


def test_an_interrupt_reports_the_measurements(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", np.random.default_rng(1).normal(size=(20_000, 64)).astype(np.float32))
    watched = (
        "from nestvec.tuning import measure as tune_measure\n"
        "measure = tune_measure.Question.measure\n"
        "def announced(*arguments):\n"
        "    measure(*arguments)\n"
        "    print('measured', flush=True)\n"
        "tune_measure.Question.measure = announced\n"
        "from nestvec.__main__ import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", watched, "tune", str(path)],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "measured\n"
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "time    interrupted after " in output
    assert "float32 " in output
    assert "opq" not in output
