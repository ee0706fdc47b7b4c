"""`nestvec doctor`: shows what nestvec uses on this machine, and its problems."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from nestvec.cli.console import output_console, print_facts, print_json
from nestvec.cli.options import Json
from nestvec.errors import NestvecError

# Wheels that install the same package `onnxruntime`: the last one overwrites the files of the others.
ONNXRUNTIME_WHEELS = (
    "onnxruntime",
    "onnxruntime-directml",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
)
PACKAGES = ("numpy", "tokenizers", "onnx", "safetensors", "huggingface_hub", "typer", "rich", "matplotlib")

# An ONNX model: an Identity node over a float, written out so that `onnx` is not needed to make it.
IDENTITY_MODEL = bytes.fromhex(
    "0808"  # ir_version 8
    "3a2f"  # a graph of 47 bytes:
    "0a10 0a0178 120179 22084964656e74697479"  # a node from x to y, "Identity"
    "120167"  # named g
    "5a0b 0a0178 12060a0408011200"  # its input x, a float scalar
    "620b 0a0179 12060a0408011200"  # its output y, the same
    "4204 0a00 100d"  # opset 13
)

# Features that the ISAs need, or later ones may need, in Linux's spelling on x86-64 and on ARM.
CPU_FEATURES = (
    *("sse4_2", "popcnt", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"),
    *("avx512_vpopcntdq", "avx512vbmi", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_bf16"),
    *("asimd", "crc32", "asimdhp", "asimddp", "asimdfhm", "i8mm", "bf16", "sve", "sve2"),
)


EXAMPLES = (
    "nestvec doctor",
    "nestvec doctor --json",
)


def doctor(json_output: Json = False) -> None:
    """Show what nestvec uses on this machine, and its problems."""
    report = diagnose()
    if json_output:
        print_json(report)
    else:
        print_report(output_console(), report)
    if report["problems"]:
        raise typer.Exit(1)


def diagnose() -> dict[str, Any]:
    """The report as JSON values. `problems` stop nestvec from working, `warnings` do not.

    Keys: nestvec, python, platform, cpu, threads, cuda, packages, onnxruntime, problems, warnings.
    """
    report: dict[str, Any] = {
        "nestvec": None,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": None,
        "threads": None,
        "cuda": None,
        "packages": {name: _version(name) for name in PACKAGES},
        "onnxruntime": None,
        "problems": [],
        "warnings": [],
    }
    _add_engine(report)
    _add_onnxruntime(report)
    return report


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def onnxruntime_wheels() -> dict[str, str]:
    """The installed wheels that contain `onnxruntime`, with their versions."""
    found = {name: _version(name) for name in ONNXRUNTIME_WHEELS}
    return {name: version for name, version in found.items() if version is not None}


def thread_reason(threads: int, affinity: int, cpus: int) -> str:
    """The reason for using `threads` threads, on `cpus` CPUs of which the process may use `affinity`."""
    if threads < affinity:
        return f"the cgroup's CPU quota, below the {affinity} CPUs of the affinity mask"
    if affinity < cpus:
        return f"the CPU affinity mask, out of {cpus} CPUs"
    return "all CPUs"


def cpu_info(path: Path = Path("/proc/cpuinfo")) -> tuple[str, list[str]]:
    """(model, its features among `CPU_FEATURES`), from Linux's cpuinfo; elsewhere only the machine's name."""
    fields: dict[str, str] = {}
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    model = fields.get("model name") or platform.processor() or platform.machine()
    return model, [feature for feature in CPU_FEATURES if feature in flags]


def _add_engine(report: dict[str, Any]) -> None:
    model, features = cpu_info()
    report["cpu"] = {"model": model, "features": features, "isa": None, "isas": [], "forced": None}
    try:
        from nestvec import _core

        found = _core.capabilities()
    except (ImportError, NestvecError) as error:
        report["problems"].append(f"the compiled engine cannot be used: {error}")
        return
    report["nestvec"] = _core.__version__
    report["cpu"].update(isa=found["isa"], isas=found["isas"])
    if forced := os.environ.get("NESTVEC_ISA"):
        report["cpu"]["forced"] = forced
        if forced != found["isas"][0]:
            better = f"this CPU could run {found['isas'][0]}"
            report["warnings"].append(f"NESTVEC_ISA forces {forced}; {better}: unset it for full speed")
    cpus = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpus
    threads = found["threads"]
    report["threads"] = {"used": threads, "affinity": affinity, "cpus": cpus}
    report["threads"]["reason"] = thread_reason(threads, affinity, cpus)
    report["cuda"] = _core.cuda_report()


def _add_onnxruntime(report: dict[str, Any]) -> None:
    wheels = onnxruntime_wheels()
    if len(wheels) > 1:
        names = " and ".join(f"{name} {version}" for name, version in wheels.items())
        report["warnings"].append(
            f"{names} are all installed: they share a folder, and the last one silently wins. Uninstall "
            f"all of them (pip uninstall -y {' '.join(wheels)}), then install the one you want"
        )
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        importlib.import_module("tokenizers")
    except ImportError as error:
        report["warnings"].append(f"texts cannot be encoded: {error}; pip install 'nestvec[cpu]' or 'nestvec[gpu]'")
        return
    providers = list(onnxruntime.get_available_providers())
    cuda = cuda_loads(onnxruntime) if "CUDAExecutionProvider" in providers else None
    if cuda is False:
        report["warnings"].append(
            "this onnxruntime offers CUDA but cannot load it, so device='cuda' will be refused; it needs an NVIDIA "
            "driver and the CUDA and cuDNN versions it was built for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    report["onnxruntime"] = {
        "version": onnxruntime.__version__,
        "wheels": wheels,
        "providers": providers,
        "cuda_loads": cuda,
    }


def cuda_loads(onnxruntime: Any) -> bool:
    """Whether a session gets CUDA: onnxruntime lists the provider even if its libraries cannot be loaded."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its report of the failure is many lines on standard error
    try:
        session = onnxruntime.InferenceSession(IDENTITY_MODEL, options, providers=["CUDAExecutionProvider"])
    except Exception:  # the class differs between versions; each means that CUDA does not load
        return False
    return "CUDAExecutionProvider" in session.get_providers()


def cuda_line(found: dict[str, Any]) -> str:
    """A line on the GPUs, from `_core.cuda_report()`."""
    if found["problem"]:
        return f"none: {found['problem']}"
    free = [f"cuda:{i} with {free / 2**30:.1f} GiB free" for i, free in enumerate(found["free_memory"])]
    return ", ".join(free)


def print_report(console: Console, report: dict[str, Any]) -> None:
    """Prints the report as two columns, then the problems and warnings."""
    cpu, threads, onnx = report["cpu"], report["threads"], report["onnxruntime"]
    facts = [
        ("nestvec", f"{report['nestvec'] or 'unusable'} on Python {report['python']}, {report['platform']}"),
        ("cpu", cpu["model"]),
        ("features", " ".join(cpu["features"]) or "unknown here"),
    ]
    if cpu["isa"]:
        why = "forced by NESTVEC_ISA" if cpu["forced"] else f"the best of {', '.join(cpu['isas'])}"
        facts.append(("isa", f"{cpu['isa']} ({why})"))
    if threads:
        facts.append(("threads", f"{threads['used']} ({threads['reason']})"))
    if report["cuda"]:
        facts.append(("gpu", cuda_line(report["cuda"])))
    if onnx:
        facts.append(("onnxruntime", f"{onnx['version']} with {', '.join(onnx['providers'])}"))
        cuda = {True: "loads", False: "does not load", None: "not in this onnxruntime"}[onnx["cuda_loads"]]
        facts.append(("cuda provider", cuda))
    facts += [(name, version or "not installed") for name, version in report["packages"].items()]
    print_facts(console, facts)
    for problem in report["problems"]:
        console.print(f"[bold red]problem:[/] {escape(problem)}")
    for warning in report["warnings"]:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}")
    if not report["problems"] and not report["warnings"]:
        console.print("[bold green]everything is in order[/]")
