"""The report of `nestvec tune`: a self-contained HTML file for screens, phones and paper."""

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
_SURFACES = {"raised": ("#f6f8fa", "#1d2127"), "code": ("#eaeef2", "#272c34")}  # light and dark, see `palette`
_HOW_TO_READ = (
    "A mark further up finds more of the rows that an exact float32 search finds; a mark further left costs less. The "
    "grey line is the Pareto front: the marks that no other mark beats in both. The bars are 95% bootstrap intervals "
    "over the queries, from the same draws for every mark, so a difference can be significant even if the bars overlap."
)


def write_report(result: TuneResult, path: str | Path) -> None:
    """Writes the report. An older file of this name stays until the new file is complete. Raises OSError."""
    with replacing(Path(path)) as file:
        write_all(file, memoryview(report_html(result).encode()))


def report_html(result: TuneResult) -> str:
    """Returns the report's HTML. It loads nothing from elsewhere; every text of the caller is escaped."""
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
    stopped = '<p class="stopped">Interrupted before all candidates were measured: the results so far.</p>\n'
    judged = "" if result.exact_ndcg10 is None else f" Exact search has nDCG@10 {_mean(result.exact_ndcg10, 4)}."
    metric = "inner product" if result.metric == "ip" else _text(result.metric)
    return (
        f'<header>\n<p class="kicker">nestvec tune</p>\n<h1>{_text(result.title)}</h1>\n'
        f'<p class="lead">{len(result.measured)} candidates for {result.rows:,} vectors of {result.dim:,} '
        f"dimensions, measured with {result.queries:,} queries against exact float32 search by {metric}.{judged}</p>\n"
        f"{stopped if result.interrupted else ''}</header>\n"
    )


def _choice(result: TuneResult) -> str:
    candidate = result.choice
    heading = _budget(result.budget)
    if candidate is None:
        name, rest = "No candidate fits" if result.measured else "No candidate was measured", ""
    else:
        name, rest = candidate.name, f"{_tiles(candidate, result)}<pre>{_text(candidate.call)}</pre>\n"
    return (
        f'<section class="choice" aria-label="The choice">\n<h2>{heading}</h2>\n<p class="name">{_text(name)}</p>\n'
        f"<p>{_text(result.why)}</p>\n{rest}</section>\n"
    )


def _tiles(candidate: Measured, result: TuneResult) -> str:
    smaller = 4 * result.dim / candidate.bytes_per_row if candidate.bytes_per_row else 0.0
    tiles = [
        ("recall@10", _mean(candidate.recall10), _ends(candidate.recall10)),
        ("bytes per row", plain(candidate.bytes_per_row), f"{smaller:.3g} times smaller than float32"),
        (
            "for one query",
            f"{plain(candidate.ms_one)} ms",
            f"{candidate.queries_per_second_batch:,.0f} queries/s in a batch",
        ),
        ("recall@100", _mean(candidate.recall100), _ends(candidate.recall100)),
    ]
    if candidate.ndcg10 is not None:
        exact = result.exact_ndcg10
        kept = f", {candidate.ndcg10.mean / exact.mean:.1%} of exact" if exact is not None and exact.mean else ""
        tiles.append(("nDCG@10", _mean(candidate.ndcg10, 4), f"{_ends(candidate.ndcg10)}{kept}"))
    rows = [f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in tiles]
    return f'<dl class="tiles">{"".join(rows)}</dl>\n'


def _plots(result: TuneResult) -> str:
    drawn = panels(result)
    if not drawn:
        return ""
    return f"<h2>Recall and cost</h2>\n<p>{_HOW_TO_READ}</p>\n" + "".join(map(_figure, drawn))


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
    judged = any(candidate.ndcg10 is not None for candidate in result.measured)
    headings = ["name", "bytes per row", "recall@10", "recall@100", *(["nDCG@10"] if judged else []), "ms, one query"]
    headings += ["queries/s, batch", "rows/s, build", "bytes scanned", "fixed bytes", "Pareto front"]
    order = sorted(enumerate(result.measured), key=lambda pair: (pair[1].bytes_per_row, -pair[1].recall10.mean))
    cells = "".join(f'<th scope="col">{name}</th>' for name in headings)
    cells = cells.replace('">bytes per row', '" aria-sort="ascending">bytes per row')
    rows = "".join(_row(index, candidate, candidate.name == result.chosen, judged) for index, candidate in order)
    explained = (
        "A click on a name shows its call. Bytes per row are those of all tiers, in memory or on disk. Bytes scanned "
        "are the part that a search reads of every row. Fixed bytes are codebooks and rotations, independent of the "
        "number of rows."
    )
    return (
        f'<section class="all">\n<h2>All measurements</h2>\n<p class="explained">{explained}</p>\n'
        '<label class="only"><input type="checkbox" id="only"> only the choice and the Pareto fronts</label>\n'
        '<div class="scroll" tabindex="0" role="region" aria-label="All measurements">\n<table id="measured">\n'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )


def _row(index: int, candidate: Measured, chosen: bool, judged: bool) -> str:
    fronts = [
        name
        for name, on in (
            ("bytes", candidate.pareto_bytes),
            ("latency", candidate.pareto_ms),
            ("nDCG", candidate.pareto_ndcg),
        )
        if on
    ]
    name = _text(candidate.name)
    mark = SvgCanvas(14, 14, candidate.codec[0], "swatch")
    swatch(candidate, mark, 14)
    tag = " <small>the choice</small>" if chosen else ""
    classes = " ".join((["front"] if fronts else []) + (["chosen"] if chosen else []))
    cells = [
        _number(candidate.bytes_per_row, plain(candidate.bytes_per_row)),
        _interval(candidate.recall10),
        _interval(candidate.recall100),
        *([_interval(candidate.ndcg10, 4)] if judged else []),
        _number(candidate.ms_one, plain(candidate.ms_one)),
        *(
            _number(rate, f"{rate:,.0f}")
            for rate in (candidate.queries_per_second_batch, candidate.build_rows_per_second)
        ),
        _number(candidate.scanned_bytes, plain(candidate.scanned_bytes)),
        _number(candidate.fixed_bytes, f"{candidate.fixed_bytes:,}"),
        _number(-len(fronts), ", ".join(fronts)),
    ]
    return (
        f'<tr data-i="{index}" data-name="{name}" data-numbers="{_text(numbers(candidate))}" class="{classes}">'
        f'<th scope="row" data-v="{name}"><details><summary>{mark.source()} {name}{tag}</summary>'
        f"<pre>{_text(candidate.call)}</pre></details></th>{''.join(cells)}</tr>\n"
    )


def _skipped(result: TuneResult) -> str:
    if not result.skipped:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(reason)}</td></tr>\n' for name, reason in result.skipped
    )
    return (
        '<section class="skipped">\n<h2>Not measured</h2>\n<div class="scroll">\n<table class="text">\n'
        '<thead><tr><th scope="col">name</th><th scope="col">reason</th></tr></thead>\n<tbody>\n'
        f"{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )


def _how(result: TuneResult) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items() if name != "version")
    notes = [
        *result.notes,
        f"Vectors: {result.rows:,} rows of {result.dim:,} dimensions, {4 * result.dim:,} bytes each as float32.",
        f"Measured in {result.seconds:,.0f} seconds" + (f" on a machine with {machine}." if machine else "."),
        "recall@10 is the share of the exact float32 10 best that a search finds. Intervals are 95% intervals from "
        "2,000 draws of the queries with replacement.",
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
    """Escapes a value for content and attributes."""
    return escape(printable(str(value)))


def _colours() -> str:
    """Returns the CSS of the light and dark shades of every role; print is light."""

    def properties(shade: int) -> str:
        return "".join(f"--{role}:{shades[shade]};" for role, shades in {**palette(), **_SURFACES}.items())

    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {properties(1)} }} }}"
    return f":root {{ {properties(0)} }}\n{dark}\n"


def _asset(suffix: str) -> str:
    return (files("nestvec.tuning.report") / f"report.{suffix}").read_text(encoding="utf-8")
