"""Every command: its output for people and for machines, and its errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from tiny_models import write_bert
from typer.testing import CliRunner

import nestvec
from nestvec.cli.app import app

PACKAGE = str(Path(nestvec.__file__).parents[1])
COMMANDS = ("demo", "export", "encode", "build", "search", "tune", "info", "doctor")
TEXTS = [
    "the weather is lovely today",
    "it is so sunny outside",
    "he drove to the stadium",
    "a cat sat on the mat",
    "how do i parse a date from a string",
]
PROMPTS = {"query": "search query ", "document": "document "}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_bert(tmp_path_factory.mktemp("models") / "tiny", prompts=PROMPTS)
    nestvec.export_onnx(directory)
    return directory


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": text, "id": 10 * i}) + "\n" for i, text in enumerate(TEXTS)))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, model: Path, documents: Path) -> Path:
    path = tmp_path_factory.mktemp("tables") / "docs.safetensors"
    good("build", documents, "-m", model, "-o", path, "--dims", "8,16")
    return path


def invoke(*arguments: object, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def good(*arguments: object, stdin: str | None = None) -> str:
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return plain(result.stdout)


def plain(output: str) -> str:
    """Removes colours, which typer's help has on some CI services even in a pipe."""
    return re.sub(r"\x1b\[[0-9;]*m", "", output)


def good_json(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
    value = json.loads(good(*arguments, "--json", stdin=stdin))
    assert isinstance(value, dict)
    return value


def error(*arguments: object, stdin: str | None = None) -> str:
    """Runs a command that fails; returns the single line of its error."""
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("nestvec: error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def usage(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(plain(result.stderr).replace("│", " ").split())


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell command line; `nestvec` in it is this nestvec."""
    command = f'set -o pipefail; nestvec() {{ "{sys.executable}" -W error -m nestvec "$@"; }}; {command}'
    variables = {**os.environ, "PYTHONPATH": PACKAGE, **environment}
    return subprocess.run(["bash", "-c", command], env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_that_the_command_takes(command: str) -> None:
    assert f"nestvec {command}" in good(command, "--help").split("Example")[1]
    parser: Any = typer.main.get_command(app).commands[command]  # type: ignore
    examples = re.findall(rf"nestvec {command}\b([^<|\n]*)", parser.epilog)
    assert examples
    for example in examples:
        parser.make_context(command, shlex.split(example)).close()  # raises for an unknown option or argument


def test_top_level_help_lists_the_commands() -> None:
    output = good("--help")
    assert all(f"\n│ {command} " in output for command in COMMANDS)
    assert good("--version") == f"nestvec {nestvec.__version__}\n"
    assert invoke().exit_code == 2  # without a command it prints the help


def test_export(tmp_path: Path) -> None:
    directory = write_bert(tmp_path / "model")
    report = good_json("export", directory)
    assert list(report) == ["output", "bytes", "seconds"]
    assert Path(report["output"]) == directory / "onnx" / "model.onnx"
    assert report["bytes"] == (directory / "onnx" / "model.onnx").stat().st_size
    assert f"{tmp_path}/other.onnx" in good("export", directory, "-o", tmp_path / "other.onnx")
    assert (tmp_path / "other.onnx").read_bytes() == (directory / "onnx" / "model.onnx").read_bytes()


def test_encode(tmp_path: Path, model: Path, documents: Path) -> None:
    out = tmp_path / "x.npy"
    assert "5 x 32 float32" in good("encode", documents, "-m", model, "-o", out)
    encoder = nestvec.Encoder(str(model))
    np.testing.assert_array_equal(np.load(out), encoder.encode(TEXTS))
    report = good_json("encode", "-", "-m", model, "-o", out, "--dim", 16, "--prompt", "query", stdin="\n".join(TEXTS))
    assert {key: report[key] for key in ("rows", "dim", "dtype", "precision", "blank_lines")} == {
        "rows": 5,
        "dim": 16,
        "dtype": "float32",
        "precision": "float32",
        "blank_lines": 0,
    }
    assert report["encode"]["texts"] == 5
    assert report["encode"]["texts_per_second"] > 0
    assert {"tokens", "seconds_total", "seconds_tokenize", "seconds_engine", "seconds_rest"} <= set(report["encode"])
    np.testing.assert_array_equal(np.load(out), encoder.encode(TEXTS, prompt="query", dim=16))
    good("encode", documents, "-m", model, "-o", out, "--precision", "ubinary")
    np.testing.assert_array_equal(np.load(out), encoder.encode(TEXTS, precision="ubinary"))


def test_encode_no_texts_and_blank_lines(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "x.npy"
    report = good_json("encode", "-", "-m", model, "-o", out, "--precision", "binary", stdin="\n\n")
    assert (report["rows"], report["dim"], report["blank_lines"]) == (0, 4, 2)
    assert np.load(out).shape == (0, 4)
    assert "2 blank lines skipped" in good("encode", "-", "-m", model, "-o", out, stdin="a cat\n\n\n")
    assert np.load(out).shape == (1, 32)


def test_build(tmp_path: Path, model: Path, documents: Path) -> None:
    out = tmp_path / "t.safetensors"
    output = good("build", documents, "-m", model, "-o", out, "--dims", "8,16")
    assert "binary, rescored with int8" in output
    assert "prefixes 8, 16" in output
    encoder = nestvec.Encoder(str(model))
    with nestvec.Table.open(out) as table:
        assert (table.rows, table.dims, table.codec, table.rescore) == (5, (8, 16, 32), "binary", "int8")
        assert table.ids.tolist() == [0, 10, 20, 30, 40]
        assert table.texts([[0, 40]]) == [[TEXTS[0], TEXTS[4]]]
        assert table.encoder == encoder.fingerprint
        expected = nestvec.Table.build(
            encoder.encode(TEXTS, prompt="document"), codec="binary", rescore="int8", ids=range(0, 50, 10), dims=(8, 16)
        )
        found, wanted = table.search(encoder.encode(TEXTS), k=5), expected.search(encoder.encode(TEXTS), k=5)
        np.testing.assert_array_equal(found.ids, wanted.ids)
        np.testing.assert_array_equal(found.scores, wanted.scores)


def test_build_from_a_pipe_of_lines(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "t.safetensors"
    arguments = ("build", "-", "-m", model, "-o", out, "--codec", "int8", "--no-texts")
    report = good_json(*arguments, stdin="\n".join([*TEXTS, ""]))
    assert set(report) == {"output", "blank_lines", "table", "encode"}
    assert (report["table"]["rows"], report["table"]["codec"], report["table"]["rescore"]) == (5, "int8", None)
    with nestvec.Table.open(out) as table:
        assert table.ids.tolist() == [0, 1, 2, 3, 4]
        assert not table.has_texts


def test_build_many_windows(tmp_path: Path, model: Path) -> None:
    lines = "".join(json.dumps({"text": f"{TEXTS[i % 5]} {i}", "id": 20_000 - i}) + "\n" for i in range(3000))
    out = tmp_path / "t.safetensors"
    good("build", "-", "-m", model, "-o", out, "--codec", "float32", stdin=lines)
    with nestvec.Table.open(out) as table:
        np.testing.assert_array_equal(table.ids, 20_000 - np.arange(3000))
        assert table.texts([[20_000 - 2718]]) == [[f"{TEXTS[2718 % 5]} 2718"]]


def test_search(model: Path, table: Path) -> None:
    output = good("search", table, TEXTS[3], "-m", model, "-k", 2)
    lines = [line.split(None, 2) for line in output.splitlines()]
    assert lines[0] == ["cosine", "id", "text"]
    assert len(lines) == 3
    report = good_json("search", table, TEXTS[3], "sunny", "-m", model, "-k", 3)
    assert report["table"] == str(table)
    assert report["metric"] == "cosine"
    assert [result["query"] for result in report["results"]] == [TEXTS[3], "sunny"]
    encoder = nestvec.Encoder(str(model))
    with nestvec.Table.open(table) as opened:
        hits = opened.search([TEXTS[3], "sunny"], 3, encoder=encoder)
        texts = hits.texts
    for row, result in enumerate(report["results"]):
        assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3]
        assert [hit["id"] for hit in result["hits"]] == hits.ids[row].tolist()
        assert [np.float32(hit["score"]) for hit in result["hits"]] == hits.scores[row].tolist()
        assert [hit["text"] for hit in result["hits"]] == texts[row]


def test_search_reads_a_pipe(model: Path, table: Path) -> None:
    as_arguments = good_json("search", table, *TEXTS[:2], "-m", model)["results"]
    assert good_json("search", table, "-m", model, stdin="\n".join(TEXTS[:2]))["results"] == as_arguments
    lines = "".join(json.dumps({"q": text}) + "\n" for text in TEXTS[:2])
    assert good_json("search", table, "-m", model, "--text-field", "q", stdin=lines)["results"] == as_arguments
    assert good_json("search", table, "-m", model, stdin="")["results"] == []


def test_search_options(tmp_path: Path, model: Path, table: Path) -> None:
    chosen = tmp_path / "ids.txt"
    chosen.write_text("10\n\n30\n")
    for value in ("10,30", f"@{chosen}"):
        hits = good_json("search", table, "a cat", "-m", model, "--filter-ids", value)["results"][0]["hits"]
        assert sorted(hit["id"] for hit in hits) == [10, 30]
    assert "table lacks 1, the first 99" in error("search", table, "a cat", "-m", model, "--filter-ids", "99")
    chosen.write_text("\n")
    assert "no hits" in good("search", table, "a cat", "-m", model, "--filter-ids", f"@{chosen}")
    vectors = tmp_path / "q.npy"
    np.save(vectors, nestvec.Encoder(str(model)).encode(["a cat", "sunny"], prompt="query"))
    by_vectors = good_json("search", table, "--vectors", vectors, "--dim", 8)
    by_texts = good_json("search", table, "a cat", "sunny", "-m", model, "--dim", 8)
    assert [result["query"] for result in by_vectors["results"]] == ["row 0", "row 1"]
    assert [result["hits"] for result in by_vectors["results"]] == [result["hits"] for result in by_texts["results"]]
    on_device = "search", table, "--vectors", vectors, "--dim", 8, "--device", "cuda"
    if "cuda" in nestvec.backends():
        assert good_json(*on_device)["results"] == by_vectors["results"]
    else:
        assert 'device is "cuda"' in error(*on_device)


def test_hamming_table_without_texts(tmp_path: Path, model: Path, documents: Path) -> None:
    out = tmp_path / "t.safetensors"
    good("build", documents, "-m", model, "-o", out, "--codec", "binary", "--no-texts")
    lines = good("search", out, "a cat", "-m", model).splitlines()
    assert lines[0].split() == ["distance", "id"]
    assert all(value.isdigit() for line in lines[1:] for value in line.split())
    hit = good_json("search", out, "a cat", "-m", model)["results"][0]["hits"][0]
    assert set(hit) == {"rank", "id", "score"}
    assert good("search", out, "a cat", "-m", model, "--query", "float").splitlines()[0].split() == ["cosine", "id"]
    assert good_json("search", out, "a cat", "-m", model, "--query", "codes")["metric"] == "hamming"
    assert "expected one of codes, float" in error("search", out, "a cat", "-m", model, "--query", "bits")


def test_a_cascade(tmp_path: Path, model: Path, documents: Path) -> None:
    out = tmp_path / "t.safetensors"
    written = good("build", documents, "-m", model, "-o", out, "--codec", "binary,int8,float32")
    for output in (written, good("info", out)):
        assert "binary, rescored with int8, rescored with float32" in output
    for options in (["--oversample", "3,1"], ["--oversample", "2"], ["--confidence", "0.9"]):
        report = good_json("search", out, TEXTS[3], "-m", model, "-k", 5, *options)
        assert len(report["results"][0]["hits"]) == 5
        assert [tier["codec"] for tier in report["tiers"]] == ["binary", "int8", "float32"]
    assert report["tiers"][0]["rows"] == len(TEXTS)
    assert "oversample has 3 items; expected 2" in error("search", out, "cat", "-m", model, "--oversample", "1,2,3")
    assert "confidence is 1.0" in error("search", out, "cat", "-m", model, "--confidence", "1")


def test_product_quantized_table(tmp_path: Path, model: Path, documents: Path) -> None:
    out = tmp_path / "t.safetensors"
    written = good("build", documents, "-m", model, "-o", out, "--codec", "pq8x4,bfloat16")
    for output in (written, good("info", out)):
        for part in ("pq8x4, rescored with bfloat16", "72 bytes, 1.8 times smaller", "learned", "2.2 kB"):
            assert part in output
    assert good_json("info", out)["codebook_bytes"] == 32 * 16 * 4 + 32 * 4  # and the center
    assert len(good_json("search", out, TEXTS[3], "-m", model)["results"][0]["hits"]) == 5
    message = error("build", documents, "-m", model, "-o", out, "--codec", "pq8")
    assert "expected one of float32" in message
    assert "such as pq96x8" in message


def test_info(model: Path, table: Path) -> None:
    output = good("info", table)
    for part in ("5 of 32 dimensions", "binary", "int8", "scanned", "rescores", "of float32"):
        assert part in output
    report = good_json("info", table)
    assert report["rows"] == 5
    assert report["file_bytes"] == table.stat().st_size
    assert report["float32_bytes"] == 5 * 32 * 4
    assert report["encoder"] == nestvec.Encoder(str(model)).fingerprint


def test_bad_lines_are_named_and_leave_no_file(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"text": "a cat"}\n{"text": 3}\n')
    for command in ("encode", "build"):
        assert f'{path}, line 2: "text" is of type int' in error(command, path, "-m", model, "-o", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["docs.jsonl"]


def test_missing_and_wrong_files(tmp_path: Path, model: Path, documents: Path, table: Path) -> None:
    missing, out = tmp_path / "missing", tmp_path / "out"
    assert f"No such file or directory: {missing}" in error("encode", missing, "-m", model, "-o", out)
    assert f"No such file or directory: {missing}" in error("info", missing)
    assert str(missing) in error("encode", documents, "-m", missing, "-o", out)
    assert "there is no folder" in error("encode", documents, "-m", model, "-o", missing / "x.npy")
    assert "is a folder" in error("build", documents, "-m", model, "-o", tmp_path)
    assert "holds no texts" in error("build", "-", "-m", model, "-o", out, stdin="\n")
    assert "not a .npy file" in error("search", table, "--vectors", documents)
    assert "1_Pooling" in error("export", model / "1_Pooling")
    assert "codec" in error("build", documents, "-m", model, "-o", out, "--codec", "int3")
    assert "query" in error("encode", documents, "-m", model, "-o", out, "--prompt", "unknown")
    assert not out.exists()


def test_outputs_that_are_links_or_no_files(tmp_path: Path, model: Path, documents: Path) -> None:
    """A link is followed. A pipe or a device is an error before any work, as their model would be, and stays."""
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "to nowhere").symlink_to("no folder/x")
    os.mkfifo(tmp_path / "fifo.onnx")
    for command in ("encode", "build"):
        good(command, documents, "-m", model, "-o", tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").stat().st_size > 0
        (tmp_path / "real").unlink()
        for output, kind in (("fifo.onnx", "pipe (FIFO)"), ("/dev/null", "character device")):
            message = error(command, documents, "-m", tmp_path / "no model", "-o", tmp_path / output)
            assert f"a {kind} is no place for a file; expected the name of a file" in message
        assert "there is no folder" in error(command, documents, "-m", model, "-o", tmp_path / "to nowhere")
    assert "a pipe (FIFO) is no place" in error("export", tmp_path / "no model", "-o", tmp_path / "fifo.onnx")
    assert (tmp_path / "fifo.onnx").is_fifo()
    assert Path("/dev/null").is_char_device()


def test_damaged_tables(tmp_path: Path, model: Path, table: Path, documents: Path) -> None:
    content = table.read_bytes()
    cut, damaged = tmp_path / "cut.safetensors", tmp_path / "damaged.safetensors"
    cut.write_bytes(content[:-100])
    assert str(cut) in error("info", cut)
    assert str(documents) in error("search", documents, "a cat", "-m", model)
    start = 8 + int.from_bytes(content[:8], "little")
    damaged.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    assert "damaged" in error("search", damaged, "a cat", "-m", model)


def test_another_model_is_refused(tmp_path: Path, table: Path) -> None:
    other = write_bert(tmp_path / "other", prompts=PROMPTS, seed=7)
    nestvec.export_onnx(other)
    assert "not the encoder that made this table" in error("search", table, "a cat", "-m", other)


def test_usage_errors(model: Path, documents: Path, table: Path) -> None:
    assert "No such command" in usage("serach")
    assert "--model" in usage("encode", documents, "-o", "x.npy")
    assert "questions need --model" in usage("search", table, "a cat")
    assert "only one of the two" in usage("search", table, "a cat", "--vectors", "q.npy")
    assert "--dims is '8;16'" in usage("build", documents, "-m", model, "-o", "t", "--dims", "8;16")
    assert "--filter-ids" in usage("search", table, "a cat", "-m", model, "--filter-ids", "x")
    assert "-k" in usage("search", table, "a cat", "-m", model, "-k", 0)


def test_missing_extra_is_one_line(model: Path, documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert "nestvec[cpu]" in error("encode", documents, "-m", model, "-o", "x.npy")


def test_missing_command_line_extra(tmp_path: Path) -> None:
    tmp_path.joinpath("typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n")
    result = shell("nestvec doctor", PYTHONPATH=f"{tmp_path}{os.pathsep}{PACKAGE}")
    assert result.returncode == 1
    assert result.stderr == "nestvec: the command line needs typer: pip install 'nestvec[cli]'\n"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = shell(f"nestvec info {tmp_path}/missing", NESTVEC_DEBUG="1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "FileNotFoundError" in result.stderr


def test_pipes_without_colour(model: Path, table: Path, tmp_path: Path) -> None:
    result = shell(
        f"printf 'a cat\\nsunny\\n' | nestvec build - -m {model} -o {tmp_path}/t | cat; nestvec info {tmp_path}/t | cat"
        f" && echo 'a cat' | nestvec search {table} -m {model} --json | {sys.executable} -m json.tool --no-indent",
        FORCE_COLOR="",
        COLUMNS="40",
    )
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    assert result.stderr == ""
    assert not [line for line in result.stdout.splitlines() if line != line.rstrip()]
    assert json.loads(result.stdout.splitlines()[-1])["results"][0]["query"] == "a cat"


def test_a_closed_pipe_is_quiet(table: Path, model: Path) -> None:
    for options in ("", "--json"):
        result = shell(f"yes 'a cat' | head -n 3000 | nestvec search {table} -m {model} {options} | head -n 1")
        assert result.stderr == ""
        assert len(result.stdout.splitlines()) == 1


def test_interrupt_leaves_nothing(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "x.npy"
    with subprocess.Popen(
        [sys.executable, "-m", "nestvec", "encode", "-", "-m", str(model), "-o", str(out)],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write("a cat\n")
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []
