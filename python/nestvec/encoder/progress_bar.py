"""A bar on the terminal for the progress of encoding; needs rich."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from nestvec.encoder.stats import EncodeStats


class _Rate(ProgressColumn):
    """Texts per second, over rich's speed period; at the end, over the whole time."""

    def render(self, task: Task) -> RenderableType:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} texts/s" if speed else "", style="progress.data.speed")


class EncodeProgress(Progress):
    """A bar that shows the `texts` of an `EncodeStats` while another thread encodes; only shown on a terminal."""

    def __init__(self, console: Console, description: str, total: int | None, stats: EncodeStats) -> None:
        self._stats = stats
        self._followed = None
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} texts"),
            _Rate(),
            TimeElapsedColumn() if total is None else TimeRemainingColumn(),
            TextColumn("" if total is None else "left"),
            speed_estimate_period=300,  # seconds; long texts of a window run first: a short period underestimates
            console=console,
            transient=True,
            disable=not console.is_terminal,
            expand=True,
        )
        self._followed = self.add_task(description, total=total)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Updates the bar; rich calls it at every refresh."""
        if self._followed is not None:
            self.update(self._followed, completed=self._stats.texts)
        return super().get_renderables()
