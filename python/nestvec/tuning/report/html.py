"""The report of `nestvec tune`: one HTML file that needs nothing else, for screens, phones and paper."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path

from nestvec.base.files import replacing, write_all
from nestvec.evaluate.interval import Interval
from nestvec.tuning.report.axes import plain, share
from nestvec.tuning.report.canvas import SvgCanvas, palette, printable
from nestvec.tuning.report.plots import Panel, draw, numbers, panels, swatch
from nestvec.tuning.result import Budget, Measured, TuneResult

_SIZES = {"wide": (960, 540), "narrow": (358, 440)}  # of the drawings for screens and paper, and for phones
_SURFACES = {"raised": ("#f6f8fa", "#1d2127"), "code": ("#eaeef2", "#272c34")}  # as the palette's
_HOW_TO_READ = (
    "A mark further up finds more of what an exact float32 search finds, one further left costs less, and the grey "
    "line joins those that nothing else measured beats in both: the Pareto front. The bars are 95% bootstrap intervals "
    "over the queries, from the same draws for every mark, so that two can differ for certain although their bars "
    "overlap."
)


def write_report(result: TuneResult, path: str | Path) -> None:
    """Writes the report. The file takes its name when it is complete; until then an older one stays. Raises OSError."""
    with replacing(Path(path)) as file:
        write_all(file, memoryview(report_html(result).encode()))


def report_html(result: TuneResult) -> str:
    """The report's source: no script, style, font or picture from elsewhere, and every text from outside escaped."""
    parts = [
        _header(result),
        _choice(result),
        _plots(result),
        _measured(result),
        _skipped(result),
        _how(result),
        f"<footer>nestvec {_text(result.machine.get('version', ''))}, nestvec tune</footer>",
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(result.title)}: nestvec tune</title>\n<style>\n{_colours()}{_asset('css')}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}</main>\n<script>\n{_asset('js')}</script>\n</body>\n</html>\n"
    )


def _header(result: TuneResult) -> str:
    stopped = '<p class="stopped">Stopped before everything was measured: this is what was known by then.</p>\n'
    judged = "" if result.exact_ndcg10 is None else f" Exact search has nDCG@10 {_mean(result.exact_ndcg10, 4)}."
    metric = "inner product" if result.metric == "ip" else _text(result.metric)
    return (
        f'<header>\n<p class="kicker">nestvec tune</p>\n<h1>{_text(result.title)}</h1>\n'
        f'<p class="lead">{len(result.measured)} ways to compress {result.rows:,} vectors of {result.dim:,} '
        f"dimensions, measured with {result.queries:,} queries against exact float32 search by {metric}.{judged}</p>\n"
        f"{stopped if result.interrupted else ''}</header>\n"
    )


def _choice(result: TuneResult) -> str:
    one = result.choice
    asked = _budget(result.budget)
    if one is None:
        name, rest = "Nothing fits" if result.measured else "Nothing measured", ""
    else:
        name, rest = one.name, f"{_tiles(one, result)}<pre>{_text(one.call)}</pre>\n"
    return (
        f'<section class="choice" aria-label="The choice">\n<h2>{asked}</h2>\n<p class="name">{_text(name)}</p>\n'
        f"<p>{_text(result.why)}</p>\n{rest}</section>\n"
    )


def _tiles(one: Measured, result: TuneResult) -> str:
    smaller = 4 * result.dim / one.bytes_per_row if one.bytes_per_row else 0.0
    tiles = [
        ("recall@10", _mean(one.recall10), _ends(one.recall10)),
        ("bytes per row", plain(one.bytes_per_row), f"{smaller:.3g} times smaller than float32"),
        ("for one query", f"{plain(one.ms_one)} ms", f"{one.queries_per_second_batch:,.0f} queries/s in a batch"),
        ("recall@100", _mean(one.recall100), _ends(one.recall100)),
    ]
    if one.ndcg10 is not None:
        exact = result.exact_ndcg10
        kept = f", {one.ndcg10.mean / exact.mean:.1%} of exact" if exact is not None and exact.mean else ""
        tiles.append(("nDCG@10", _mean(one.ndcg10, 4), f"{_ends(one.ndcg10)}{kept}"))
    rows = [f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in tiles]
    return f'<dl class="tiles">{"".join(rows)}</dl>\n'


def _plots(result: TuneResult) -> str:
    drawn = panels(result)
    if not drawn:
        return ""
    return f"<h2>What it costs</h2>\n<p>{_HOW_TO_READ}</p>\n" + "".join(map(_figure, drawn))


def _figure(panel: Panel) -> str:
    drawings = []
    for size, (width, height) in _SIZES.items():
        canvas = SvgCanvas(width, height, f"{panel.title}, {len(panel.points)} marks", f"plot {size}")
        draw(panel, canvas, width, height)
        drawings.append(canvas.source())
    caption = '<figcaption aria-live="polite"></figcaption>'
    return f"<figure>\n<h3>{panel.title}</h3>\n{''.join(drawings)}\n{caption}\n</figure>\n"


def _measured(result: TuneResult) -> str:
    if not result.measured:
        return ""
    judged = any(one.ndcg10 is not None for one in result.measured)
    headings = ["name", "bytes per row", "recall@10", "recall@100", *(["nDCG@10"] if judged else []), "ms, one query"]
    headings += ["queries/s, batch", "rows/s, build", "bytes scanned", "fixed bytes", "Pareto front"]
    order = sorted(enumerate(result.measured), key=lambda pair: (pair[1].bytes_per_row, -pair[1].recall10.mean))
    cells = "".join(f'<th scope="col">{name}</th>' for name in headings)
    cells = cells.replace('">bytes per row', '" aria-sort="ascending">bytes per row')
    rows = "".join(_row(index, one, one.name == result.chosen, judged) for index, one in order)
    explained = (
        "A name opens the call that makes it. Bytes per row are those of all tiers, in memory or on disk; of these a "
        "search scans some of every row. Fixed bytes do not grow with the rows: codebooks and rotations."
    )
    return (
        f'<section class="all">\n<h2>Everything measured</h2>\n<p class="explained">{explained}</p>\n'
        '<label class="only"><input type="checkbox" id="only"> only the choice and the Pareto fronts</label>\n'
        '<div class="scroll" tabindex="0" role="region" aria-label="Everything measured">\n<table id="measured">\n'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )


def _row(index: int, one: Measured, chosen: bool, judged: bool) -> str:
    fronts = [
        name for name, on in (("bytes", one.pareto_bytes), ("latency", one.pareto_ms), ("nDCG", one.pareto_ndcg)) if on
    ]
    mark = SvgCanvas(14, 14, one.codec[0], "swatch")
    swatch(one, mark, 14)
    tag = " <small>the choice</small>" if chosen else ""
    classes = " ".join((["front"] if fronts else []) + (["chosen"] if chosen else []))
    cells = [
        _number(one.bytes_per_row, plain(one.bytes_per_row)),
        _interval(one.recall10),
        _interval(one.recall100),
        *([_interval(one.ndcg10, 4)] if judged else []),
        _number(one.ms_one, plain(one.ms_one)),
        *(_number(rate, f"{rate:,.0f}") for rate in (one.queries_per_second_batch, one.build_rows_per_second)),
        _number(one.scanned_bytes, plain(one.scanned_bytes)),
        _number(one.fixed_bytes, f"{one.fixed_bytes:,}"),
        _number(-len(fronts), ", ".join(fronts)),
    ]
    return (
        f'<tr data-i="{index}" data-name="{_text(one.name)}" data-numbers="{_text(numbers(one))}" class="{classes}">'
        f'<th scope="row" data-v="{_text(one.name)}"><details><summary>{mark.source()} {_text(one.name)}{tag}</summary>'
        f"<pre>{_text(one.call)}</pre></details></th>{''.join(cells)}</tr>\n"
    )


def _skipped(result: TuneResult) -> str:
    if not result.skipped:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(reason)}</td></tr>\n' for name, reason in result.skipped
    )
    return (
        '<section class="skipped">\n<h2>Not measured</h2>\n<div class="scroll">\n<table class="text">\n'
        '<thead><tr><th scope="col">name</th><th scope="col">why</th></tr></thead>\n<tbody>\n'
        f"{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )


def _how(result: TuneResult) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items() if name != "version")
    notes = [
        *result.notes,
        f"Vectors: {result.rows:,} rows of {result.dim:,} dimensions, {4 * result.dim:,} bytes each as float32.",
        f"Measured in {result.seconds:,.0f} seconds" + (f" on a machine with {machine}." if machine else "."),
        "recall@10 is the share of the exact float32 10 best that a search finds; intervals are of 95%, by 2,000 draws "
        "of the queries with replacement.",
    ]
    listed = "".join(f"<li>{_text(note)}</li>" for note in notes)
    return f"<section>\n<h2>How it was measured</h2>\n<ul>{listed}</ul>\n</section>\n"


def _budget(budget: Budget) -> str:
    limits = []
    if budget.max_bytes is not None:
        limits.append(f"at most {plain(budget.max_bytes)} bytes per row")
    if budget.max_ms is not None:
        limits.append(f"at most {plain(budget.max_ms)} ms for one query")
    if budget.min_recall is not None:
        limits.append(f"recall@10 of at least {share(budget.min_recall, 2)}")
    return f"The choice for {' and '.join(limits)}" if limits else "The choice"


def _mean(value: Interval, digits: int = 3) -> str:
    return share(value.mean, digits)


def _ends(value: Interval, digits: int = 3) -> str:
    return f"{share(value.low, digits)} to {share(value.high, digits)}"


def _interval(value: Interval | None, digits: int = 3) -> str:
    if value is None:
        return '<td data-v="-1"></td>'
    return f'<td data-v="{value.mean:.6g}">{_mean(value, digits)}<small>{_ends(value)}</small></td>'


def _number(value: float, text: str) -> str:
    return f'<td data-v="{value:.6g}">{text}</td>'


def _text(value: object) -> str:
    """Escaped, for content and attributes."""
    return escape(printable(str(value)))


def _colours() -> str:
    """Custom properties of every role, light and dark; paper is light."""

    def properties(shade: int) -> str:
        return "".join(f"--{role}:{shades[shade]};" for role, shades in {**palette(), **_SURFACES}.items())

    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {properties(1)} }} }}"
    return f":root {{ {properties(0)} }}\n{dark}\n"


def _asset(suffix: str) -> str:
    return (files("nestvec.tuning.report") / f"report.{suffix}").read_text(encoding="utf-8")
