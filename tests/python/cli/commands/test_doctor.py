"""The report of `nestvec doctor`: facts, warnings and problems."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nestvec
from nestvec.cli.app import app
from nestvec.cli.commands import doctor

PACKAGE = str(Path(nestvec.__file__).parents[1])


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "nestvec", "doctor", *arguments]
    variables = {**os.environ, "PYTHONPATH": PACKAGE, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def install(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Makes importlib.metadata return these versions, and the true version of other distributions."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        found = versions[name] if name in versions else real(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_report_on_this_machine() -> None:
    report = doctor.diagnose()
    assert list(report) == [
        *("nestvec", "python", "platform", "cpu", "threads", "cuda"),
        *("packages", "onnxruntime", "problems", "warnings"),
    ]
    found = nestvec.capabilities()
    assert report["nestvec"] == nestvec.__version__
    assert report["cpu"]["isa"] == found["isa"]
    assert report["cpu"]["isas"] == found["isas"]
    assert report["threads"]["used"] == found["threads"] >= 1
    assert report["cuda"]["built"] or "without CUDA" in report["cuda"]["problem"]
    assert (report["cuda"]["problem"] is None) == ("cuda" in nestvec.backends())
    assert report["packages"]["numpy"] == np.__version__
    assert report["problems"] == []
    json.dumps(report)


def test_cuda_line() -> None:
    none = {"built": True, "free_memory": [], "problem": "there is no driver"}
    assert doctor.cuda_line(none) == "none: there is no driver"
    two = {"built": True, "free_memory": [2**30, 3 * 2**29], "problem": None}
    assert doctor.cuda_line(two) == "cuda:0 with 1.0 GiB free, cuda:1 with 1.5 GiB free"


@pytest.mark.parametrize(
    ("threads", "affinity", "cpus", "reason"),
    [
        (8, 8, 8, "all CPUs"),
        (4, 4, 8, "the CPU affinity mask, out of 8 CPUs"),
        (2, 4, 8, "the cgroup's CPU quota, below the 4 CPUs of the affinity mask"),
        (2, 8, 8, "the cgroup's CPU quota, below the 8 CPUs of the affinity mask"),
    ],
)
def test_thread_reason(threads: int, affinity: int, cpus: int, reason: str) -> None:
    assert doctor.thread_reason(threads, affinity, cpus) == reason


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "processor : 0\nmodel name\t: A CPU\nflags\t\t: fpu popcnt avx2 fma other\n\nprocessor : 1\nflags :\n",
            ("A CPU", ["popcnt", "avx2", "fma"]),
        ),
        (
            "CPU implementer: 0x41\nmodel name: An ARM\nFeatures: fp asimd asimddp sve\n",
            ("An ARM", ["asimd", "asimddp", "sve"]),
        ),
    ],
)
def test_cpu_info(tmp_path: Path, content: str, expected: tuple[str, list[str]]) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(content)
    assert doctor.cpu_info(path) == expected


def test_cpu_info_without_linux(tmp_path: Path) -> None:
    model, features = doctor.cpu_info(tmp_path / "missing")
    assert model
    assert features == []


def test_both_onnxruntime_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, **{"onnxruntime": "1.20.0", "onnxruntime-gpu": "1.19.2"})
    warnings = [text for text in doctor.diagnose()["warnings"] if "share a folder" in text]
    assert len(warnings) == 1
    assert "onnxruntime 1.20.0 and onnxruntime-gpu 1.19.2" in warnings[0]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in warnings[0]
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "warning:" in result.stdout

    install(monkeypatch, **{"onnxruntime": "1.20.0", "onnxruntime-gpu": None})
    assert not [text for text in doctor.diagnose()["warnings"] if "share a folder" in text]


@pytest.mark.parametrize("missing", ["onnxruntime", "tokenizers"])
def test_missing_extra_is_a_warning(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    report = doctor.diagnose()
    assert [text for text in report["warnings"] if missing in text and "nestvec[cpu]" in text]
    assert report["problems"] == []


class FakeRuntime:
    """An onnxruntime that lists CUDA; a session for it has the providers `gives`, or raises."""

    __version__ = "1.0"

    def __init__(self, gives: list[str] | Exception) -> None:
        self.gives = gives

    SessionOptions = SimpleNamespace

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, model: bytes, options: Any, providers: list[str]) -> Any:  # noqa: N802 (its real name)
        assert model == doctor.IDENTITY_MODEL
        assert providers == ["CUDAExecutionProvider"]
        if isinstance(self.gives, Exception):
            raise self.gives
        return SimpleNamespace(get_providers=lambda: self.gives)


@pytest.mark.parametrize(
    ("gives", "loads"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], True),
        (["CPUExecutionProvider"], False),
        (RuntimeError("libcublas.so not found"), False),
    ],
)
def test_cuda_is_tried_by_a_session(monkeypatch: pytest.MonkeyPatch, gives: list[str] | Exception, loads: bool) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime(gives))
    report = doctor.diagnose()
    assert report["onnxruntime"]["cuda_loads"] is loads
    assert any("cannot load it" in text for text in report["warnings"]) is not loads


def test_identity_model_runs() -> None:
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(doctor.IDENTITY_MODEL, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array(3.5, np.float32)})[0] == np.float32(3.5)


def test_json_alone_on_standard_output() -> None:
    result = run("--json")
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)) == set(doctor.diagnose())
    assert result.stderr == ""


def test_a_forced_isa_is_a_warning_if_a_better_one_runs() -> None:
    result = run(NESTVEC_ISA="reference")
    assert result.returncode == 0
    assert "reference (forced by NESTVEC_ISA)" in result.stdout
    better = nestvec.capabilities()["isas"][0]
    assert (f"this CPU could run {better}" in result.stdout) is (better != "reference")


def test_unknown_isa_is_a_problem() -> None:
    result = run("--json", NESTVEC_ISA="mmx")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["cpu"]["isa"] is None
    assert 'NESTVEC_ISA is "mmx"' in report["problems"][0]
    assert "Traceback" not in result.stderr
    plain = run(NESTVEC_ISA="mmx")
    assert plain.returncode == 1
    assert "problem:" in plain.stdout
