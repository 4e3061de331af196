"""The report's two pictures."""

import statistics
from pathlib import Path

from benchmarks.row_speed import STAGES, MemoryFigures, SpeedFigures

_OURS, _BASELINE = "#1f6feb", "#9aa4b2"
_MEMORY_TICKS = (100, 200, 400, 800)


def draw_speed(figures: SpeedFigures, path: Path) -> None:
    """Rows per second by stage, on a logarithmic axis, with the ratio on each pair of bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, stage in enumerate(figures.stages):
        ours, baseline = stage.rate(stage.ours), stage.rate(stage.baseline)
        ratio = statistics.median(stage.ratios)
        axes.bar(number - 0.2, ours, 0.38, color=_OURS, label=None if number else "bedrock_batch_assets")
        axes.bar(number + 0.2, baseline, 0.38, color=_BASELINE, label=None if number else "plain Python and pandas")
        for place, rate in ((number - 0.2, ours), (number + 0.2, baseline)):
            axes.annotate(f"{rate:,.0f}", (place, rate), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        axes.annotate(
            f"{ratio:.1f}×",
            (number - 0.2, ours),
            (0, 13),
            textcoords="offset points",
            ha="center",
            weight="bold",
        )
    axes.set_yscale("log")
    axes.margins(y=0.25)
    axes.set_xticks(range(len(figures.stages)), [stage.stage.replace("_", " ") for stage in figures.stages])
    axes.set_ylabel("rows per second")
    axes.set_title("Rows per second (median, logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def draw_memory(figures: MemoryFigures, limit_bytes: int, path: Path) -> None:
    """Peak memory of a fresh process against the rows of a job."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, stage in enumerate(STAGES):
        for side, style in (("ours", "-o"), ("baseline", "--s")):
            sizes = sorted(size for name, who, size in figures.peaks if (name, who) == (stage, side))
            peaks = [figures.peaks[stage, side, size] / (1 << 20) for size in sizes]
            label = f"{stage.replace('_', ' ')}, {'ours' if side == 'ours' else 'plain'}"
            axes.plot(sizes, peaks, style, color=f"C{number}", label=label, alpha=1.0 if side == "ours" else 0.5)
    axes.axhline(limit_bytes / (1 << 20), color="black", linewidth=0.8)
    axes.annotate("400 MB", (1_000, limit_bytes / (1 << 20)), (0, 3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks(_MEMORY_TICKS, [str(tick) for tick in _MEMORY_TICKS])
    axes.minorticks_off()
    axes.set_xlabel("rows per job")
    axes.set_ylabel("peak memory, MB")
    axes.set_title("Peak memory of a fresh process against job size")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, dpi=120)
