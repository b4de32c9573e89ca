"""A picture for each chart: medians as bars, quartiles as whiskers, ours in one colour.

    python bench/pictures.py DATA.json ... --folder docs/performance

Takes what `report.py` takes; `charts.py` says what is drawn of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from charts import Chart, Panel, charts
from matplotlib import pyplot as plt
from tables import spread

OURS, LIMIT, THEIRS = "#d9480f", "#495057", "#adb5bd"


def picture(chart: Chart, path: Path) -> None:
    heights = [len(panels[0].bars) for _, panels in chart.rows]
    figure, axes = plt.subplots(
        len(chart.rows),
        max(len(panels) for _, panels in chart.rows),
        figsize=(10, 1.2 + 0.3 * sum(heights) + 0.6 * len(heights)),
        gridspec_kw={"height_ratios": heights},
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for line, (title, panels) in zip(axes, chart.rows, strict=True):
        for axis, panel in zip(line, panels, strict=True):
            draw(axis, panel, chart)
        line[0].invert_yaxis()  # of all in the row: they share it
        if title:
            line[0].set_title(title, loc="left", fontsize=10)
    figure.suptitle(chart.title, fontsize=11)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def draw(axis: Any, panel: Panel, chart: Chart) -> None:
    if any(isinstance(bar, dict) for bar in panel.bars.values()):
        pile(axis, panel)
    else:
        bars(axis, panel, chart)
    axis.set_xlabel(panel.label)
    axis.margins(x=0.12, y=0.3 / len(panel.bars))
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0, labelsize=9)


def bars(axis: Any, panel: Panel, chart: Chart) -> None:
    spans = [spread(list(values)) for values in panel.bars.values()]
    middles = [middle for _, middle, _ in spans]
    whiskers = [[middle - low for low, middle, _ in spans], [high - middle for _, middle, high in spans]]
    colours = [
        OURS if name in chart.ours else LIMIT if name in chart.limits else THEIRS for name in panel.bars
    ]
    if panel.logarithmic:
        axis.set_xscale("log")
    errors = whiskers if any(map(any, whiskers)) else None
    axis.barh(list(panel.bars), middles, xerr=errors, color=colours, height=0.7, capsize=2, ecolor="#212529")
    for at, (_, middle, high) in enumerate(spans):
        axis.annotate(number(middle), (high, at), (4, 0), textcoords="offset points", va="center", fontsize=8)


def pile(axis: Any, panel: Panel) -> None:
    """Parts that add up, one after the other."""
    names = list(panel.bars)
    parts = [part for part in dict(panel.bars[names[0]]) if any(dict(panel.bars[n])[part] for n in names)]
    colours = plt.get_cmap("tab10").colors
    left = [0.0] * len(names)
    for part, colour in zip(parts, colours, strict=False):
        widths = [dict(panel.bars[name])[part] for name in names]
        axis.barh(names, widths, left=left, color=colour, height=0.7, label=part)
        left = [at + width for at, width in zip(left, widths, strict=True)]
    for at, total in enumerate(left):
        axis.annotate(number(total), (total, at), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where the pictures go")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for path in asked.data:
        for chart in charts(json.loads(path.read_text())):
            if all(panel.bars for _, panels in chart.rows for panel in panels):
                picture(chart, asked.folder / f"{chart.name}.png")


if __name__ == "__main__":
    main()
