"""`make gpu-check`: tests and benchmark of the CUDA backend on a machine with an NVIDIA GPU, in one run and one table.

Builds the module and the C++ tests with nvcc for this machine's GPU; runs the CPU's tests on the device, the C++ tests
of the device alone and under compute-sanitizer, and the benchmark against the installed peers. Nothing is
fetched: the table names a missing program as not installed, and a part without time as not run. Each part has a budget,
eight minutes in all; a part that exceeds its budget is stopped and fails.

Exit status: 0 if nothing failed, 1 if a part failed, 2 without a GPU or without a compiler for it.

--emulated runs the same on the tests' emulated device, with few rows and tests: it tests this script and says nothing
about a GPU. NESTVEC_TEST_CORE may then name a compiled module, to be used without a build.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.driver import found

ROOT = Path(__file__).resolve().parents[2]

# Seconds: eight minutes in all.
SANITIZERS = ("memcheck", "racecheck", "synccheck")
LEAST_SANITIZED = 3
BUDGETS = {"build": 150, "cpp": 45, "python": 100, "sanitizer": 75, "benchmark": 110}

# Short tests, which together run most kernels.
SANITIZED = (
    ("cuda_block_test", "longest"),
    ("cuda_scan_test", "equal_rows"),
    ("cuda_scan_test", "second_look_ups"),
    ("cuda_epilogue_test", "longer_than_a_list"),
    ("cuda_epilogue_test", "codes_in"),
)
EMULATED_TESTS = {  # a few seconds
    "KERNEL_TESTS": ["tests/python/pipeline/test_steps.py"],
    "DEVICE_TESTS": ["tests/python/base/test_device_array.py"],
}

PASSED, FAILED = "passed", "FAILED"
HEADERS = {
    "what": "what",
    "contender": "contender",
    "result": "result",
    "seconds": "s",
    "ms": "ms",
    "spread": "±",
    "device_ms": "ms by events",
    "per_second": "a second",
    "GB/s": "GB/s",
    "of_copy": "of copy",
    "of_floor": "of floor",
    "ratio": "time / first's",
}
SPECS = {
    "seconds": ",.0f",
    "ms": ",.3f",
    "spread": ".0%",
    "device_ms": ",.3f",
    "per_second": ",.0f",
    "GB/s": ",.0f",
    "of_copy": ".0%",
    "of_floor": ".0%",
    "ratio": ".2f",
}


@dataclass
class Check:
    """One run: its folders, and the rows of its table."""

    emulated: bool
    build: Path
    core: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Prints a line, and keeps it for the JSON file."""
        self.notes.append(text)
        print(text, flush=True)

    def add(self, what: str, result: str, seconds: float | None = None) -> None:
        """Adds the row of a part other than the benchmark."""
        self.rows.append({"what": what, "contender": "", "result": result, "seconds": seconds})
        print(f"... {what}: {result}", file=sys.stderr, flush=True)

    def run(self, what: str, command: Sequence[str | Path], budget: float, env: Mapping[str, str] | None = None) -> str:
        """Runs a command for at most `budget` seconds, adds its row, and returns its output."""
        print(f"... {what}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        log = self.build / f"gpu_check_{len(self.rows)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(budget)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # the whole session: the process and its children
                process.wait()
                code = None
        text = log.read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = lines[-1] if lines else "it printed nothing"
        if code is None:
            result = f"{FAILED}: stopped after {budget:.0f} s; {last:.120}"
        elif code != 0:
            result = f"{FAILED}: exit status {code}, {log.relative_to(ROOT)}: {last:.160}"
        else:
            result = f"{PASSED}: {last.strip('= '):.120}"
        self.add(what, result, time.perf_counter() - start)
        return text

    @property
    def failed(self) -> bool:
        """Whether a part failed. A peer that failed does not count."""
        return any(row["result"].startswith(FAILED) for row in self.rows)

    def environment(self) -> dict[str, str]:
        """For tests and benchmark: the compiled module, and the Python files of this checkout."""
        return {"NESTVEC_TEST_CORE": str(self.core), "PYTHONPATH": str(ROOT / "python")}


def missing(*modules: str) -> list[str]:
    """The modules that this Python lacks."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def build(check: Check) -> bool:
    """Builds the module and the tests; False if no module could be built."""
    if check.emulated and os.environ.get("NESTVEC_TEST_CORE"):
        check.core = os.environ["NESTVEC_TEST_CORE"]
        check.add("build", "not run: NESTVEC_TEST_CORE names the module")
        return True
    # pybind11 is headers, the same for every Python.
    pythons = [sys.executable, str(ROOT / ".venv/bin/python")]
    found = [
        subprocess.run([python, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True).stdout.strip()
        for python in pythons
        if Path(python).exists()
    ]
    pybind11 = next(filter(None, found), None)
    cmake = shutil.which("cmake")
    needed = [name for name, path in (("cmake", cmake), ("pybind11", pybind11)) if not path] + missing("numpy")
    if needed:
        check.add(
            "build", f"{FAILED}: not installed: {', '.join(needed)} (`make .venv/.developer` brings them to .venv)"
        )
        return False
    preset = "tests" if check.emulated else "gpu"
    configure = [
        *(str(cmake), "--preset", preset, "--log-level=WARNING"),
        *([] if shutil.which("ninja") else ["-G", "Unix Makefiles"]),
        *("-DNESTVEC_PYTHON=ON", f"-Dpybind11_DIR={pybind11}", f"-DPython_EXECUTABLE={sys.executable}"),
        *os.environ.get("CMAKE_ARGS", "").split(),
    ]
    budget = 3600 if check.emulated else BUDGETS["build"]
    start = time.perf_counter()
    check.run("build: configure", configure, budget)
    if not check.failed:
        target = ["--target", "_core"] if check.emulated else []
        jobs = ["--parallel", str(os.cpu_count() or 1)]
        left = budget - (time.perf_counter() - start)
        check.run("build", [str(cmake), "--build", "--preset", preset, *target, *jobs], left)
    cores = sorted(check.build.glob("_core*.so"))
    check.core = str(cores[0]) if cores else None
    return check.core is not None and not check.failed


def cpp(check: Check) -> None:
    """Runs the C++ tests of the device."""
    programs = sorted(check.build.glob("cuda_*_test"))
    if not programs:
        check.add("C++ tests on the device", "not run: not built")
    if check.emulated:
        programs = programs[:1]
    for program in programs:
        check.run(f"C++: {program.name}", [program], BUDGETS["cpp"] / len(programs))


def python(check: Check) -> None:
    """Runs the Python tests of the CPU with tables, arrays and encoders on the device, then the tests of devices."""
    kernels, devices = "Python: the CPU's tests, on the device", "Python: tests of devices"
    if lacking := missing("pytest", "hypothesis", "pytest_timeout"):
        for what in (kernels, devices):
            check.add(what, f"not run: not installed: {', '.join(lacking)}")
        return
    workers = [] if check.emulated or missing("xdist") else ["--numprocesses", str(min(8, os.cpu_count() or 1))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers]
    env = check.environment() if check.emulated else {**check.environment(), "NESTVEC_TEST_GPU": "1"}
    for what, names, share, more in (
        (kernels, "KERNEL_TESTS", 0.7, {"NESTVEC_TEST_DEVICE": "cuda"}),
        (devices, "DEVICE_TESTS", 0.3, {}),
    ):
        tests = EMULATED_TESTS[names] if check.emulated else os.environ.get(names, "").split()
        if not tests:
            check.add(what, f"not run: {names} is empty; `make gpu-check` sets it")
            continue
        paths = [str(ROOT / test) for test in tests]
        check.run(what, [*command, *paths], BUDGETS["python"] * share, {**env, **more})


def sanitizer(check: Check) -> None:
    """Runs a few of the C++ tests under compute-sanitizer."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    for kind in SANITIZERS:
        if check.emulated:
            check.add(f"compute-sanitizer {kind}", "not run: the emulated device has the compiler's sanitizers instead")
        elif tool is None:
            check.add(f"compute-sanitizer {kind}", "not installed")
        else:
            end = time.perf_counter() + BUDGETS["sanitizer"] / len(SANITIZERS)
            for program, test in SANITIZED:
                what = f"compute-sanitizer {kind}: {program} {test}"
                left = end - time.perf_counter()
                if left < LEAST_SANITIZED:
                    check.add(what, "not run: the time was up")
                    continue
                check.run(what, [tool, "--tool", kind, "--error-exitcode", "9", check.build / program, test], left)


def benchmark(check: Check) -> None:
    """Runs benchmarks.gpu, whose rows join the table."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "gpu.json"
        seconds = BUDGETS["benchmark"] - 30  # for the question that is running then
        command = [sys.executable, "-m", "benchmarks.gpu", "--json", results, "--seconds", str(seconds)]
        emulated = ["--emulated"] if check.emulated else []
        check.run("benchmark", [*command, *emulated], BUDGETS["benchmark"], check.environment())
        if results.exists():
            found = json.loads(results.read_text())
            check.rows += found["tables"][0]["rows"]
            for note in found["notes"][1:]:
                check.note(note)


def cells(row: Mapping[str, Any], keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        value = row.get(key)
        plain = value is None or isinstance(value, str)
        yield (str(value or "") if plain else format(value, SPECS[key])).replace("|", "/")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in Markdown with aligned columns; a column without values is left out."""
    keys = [key for key in HEADERS if any(row.get(key) is not None for row in rows)]
    lines = [[HEADERS[key] for key in keys], *(list(cells(row, keys)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keys))]
    rule = [("-" * (width - 1) + ":") if key in SPECS else "-" * width for key, width in zip(keys, widths, strict=True)]
    shown = []
    for line in [lines[0], rule, *lines[1:]]:
        padded = [
            cell.rjust(width) if key in SPECS else cell.ljust(width)
            for key, cell, width in zip(keys, line, widths, strict=True)
        ]
        shown.append(f"| {' | '.join(padded)} |")
    return "\n".join(shown)


STEPS: dict[str, Callable[[Check], Any]] = {
    "cpp": cpp,
    "python": python,
    "sanitizer": sanitizer,
    "benchmark": benchmark,
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--emulated", action="store_true", help="use the tests' emulated device: tests this script")
    parser.add_argument(
        "--only", nargs="+", choices=list(STEPS), default=list(STEPS), help="parts to run after the build"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="by default gpu_check.json in the build folder")
    return parser.parse_args(arguments)


def main() -> int:
    args = parse()
    started = time.perf_counter()
    check = Check(args.emulated, ROOT / "build" / ("tests" if args.emulated else "gpu"))
    if args.emulated:
        check.note("gpu-check, on an emulated device: this tests the script and says nothing about a GPU.")
    else:
        driver, problem = found()
        if driver is None:
            print(f"gpu-check: no GPU can be used: {problem}. ARGS=--emulated checks the script without a GPU.")
            return 2
        nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
        if nvcc is None:
            print("gpu-check: nvcc is not installed (or name it: CUDACXX=/path/to/nvcc).")
            return 2
        check.note(f"gpu-check: {driver.gpu}; {nvcc}")
    if build(check):
        for part in args.only:
            STEPS[part](check)
    else:
        for part in args.only:
            check.add(part, "not run: the build failed")
    check.note(f"{time.perf_counter() - started:.0f} s in all.")
    print(f"\n{table(check.rows)}")
    target = args.json or check.build / "gpu_check.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        json.dumps({"emulated": args.emulated, "notes": check.notes, "rows": check.rows}, indent=1) + "\n"
    )
    print(f"\n{target}: every measurement. {'Something FAILED.' if check.failed else 'Nothing failed.'}")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
