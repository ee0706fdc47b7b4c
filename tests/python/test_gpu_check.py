"""benchmarks.gpu.check without a GPU: its messages, its parts, and a run over the emulated device."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import check as gpu_check
from benchmarks.gpu.driver import found

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu.check", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


@pytest.mark.skipif(found()[0] is not None, reason="this machine has a GPU")
def test_without_a_gpu() -> None:
    done = run()
    assert done.returncode == 2
    assert "no GPU can be used: no NVIDIA driver" in done.stdout


@pytest.mark.skipif("NESTVEC_TEST_CORE" not in os.environ, reason="it needs a module over an emulated device")
def test_over_the_emulated_device(tmp_path: Path) -> None:
    done = run("--emulated", "--only", "benchmark", "sanitizer", "--json", tmp_path / "all.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["emulated"]
    of_nestvec = [row for row in found["rows"] if row["contender"] == "nestvec"]
    assert len(of_nestvec) == 22
    assert {row["result"] for row in of_nestvec} == {"equal to the CPU"}
    speeds = {row[key] for row in of_nestvec for key in row if key not in ("what", "contender", "result")}
    assert speeds == {"emulated"}
    parts = {row["what"]: row["result"] for row in found["rows"] if row["contender"] == ""}
    assert parts["build"] == "not run: NESTVEC_TEST_CORE names the module"
    assert parts["benchmark"].startswith("passed")
    assert parts["compute-sanitizer racecheck"].startswith("not run")
    assert all(row["what"] in done.stdout and row["result"] in done.stdout for row in found["rows"])


@pytest.mark.parametrize(
    ("code", "budget", "result"),
    [
        ("print('well'); print('3 passed')", 60, "passed: 3 passed"),
        ("print('4 failed'); raise SystemExit(3)", 60, "FAILED: exit status 3"),
        ("import time; print('so far', flush=True); time.sleep(60)", 1.5, "FAILED: stopped after 2 s; so far"),
    ],
)
def test_parts_that_pass_fail_and_take_too_long(code: str, budget: float, result: str) -> None:
    check = gpu_check.Check(emulated=True, build=ROOT / "build" / "test_gpu_check")
    check.run("a part", [sys.executable, "-c", code], budget)
    assert check.rows[0]["result"].startswith(result)
    assert check.failed == result.startswith("FAILED")


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing: list[Any] = []
    monkeypatch.setattr(gpu_check, "missing", lambda *modules: missing)
    monkeypatch.setattr(gpu_check.shutil, "which", lambda name: None)
    check = gpu_check.Check(emulated=False, build=tmp_path)
    missing[:] = ["pytest_timeout"]
    gpu_check.cpp(check)
    gpu_check.python(check)
    gpu_check.sanitizer(check)
    assert [row["result"] for row in check.rows] == [
        "not run: not built",
        *["not run: not installed: pytest_timeout"] * 2,
        *["not installed"] * 3,
    ]
    assert not gpu_check.build(check)
    assert check.rows[-1]["result"].startswith("FAILED: not installed: cmake")


def test_named_tests_exist() -> None:
    for program, test in gpu_check.SANITIZED:
        source = ROOT / "tests" / "cpp" / f"{program.replace('_', '/', 1)}.cpp"
        assert re.search(rf"TEST\(\w*{test}", source.read_text())
    for tests in gpu_check.EMULATED_TESTS.values():
        assert all((ROOT / test).exists() for test in tests)


def test_the_budgets_leave_time() -> None:
    assert sum(gpu_check.BUDGETS.values()) <= 8 * 60
