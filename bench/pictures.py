"""A picture for each table of whole downloads: medians as bars, quartiles as whiskers, ours in one colour.

    python bench/pictures.py DATA.json ... --folder docs/performance

Takes what `transfers.py --json` and `networks.py --json` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from report_transfers import groups
from tables import Run, cpu, of, quartiles, size_text

OURS, LIMIT, THEIRS = "#d9480f", "#495057", "#adb5bd"
MEASURES = (("wall, s", of("wall")), ("CPU, s", cpu))


def picture(table: dict[str, Any], path: Path) -> None:
    found = groups(table)
    heights = [len(group) for group in found.values()]
    figure, axes = plt.subplots(
        len(found),
        2,
        figsize=(10, 1.2 + 0.3 * sum(heights) + 0.6 * len(found)),
        gridspec_kw={"height_ratios": heights},
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for line, (group, named) in zip(axes, found.items(), strict=True):
        for axis, (label, key) in zip(line, MEASURES, strict=True):
            bars(axis, named, key)
            axis.set_xlabel(label)
        line[0].invert_yaxis()  # of both: they share it
        if len(found) > 1:
            line[0].set_title(group, loc="left", fontsize=10)
    title = f"{size_text(table['size'])} {table['what']}\n{table['rounds']} rounds: medians and quartiles"
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def bars(axis: Any, named: dict[str, list[Run]], key: Any) -> None:
    names = list(named)
    spans = [quartiles(named[name], key) for name in names]
    middles = [middle for _, middle, _ in spans]
    whiskers = [[middle - low for low, middle, _ in spans], [high - middle for _, middle, high in spans]]
    first = [named[name][0] for name in names]
    colours = [OURS if run["ours"] else LIMIT if run["limit"] else THEIRS for run in first]
    axis.barh(names, middles, xerr=whiskers, color=colours, height=0.7, capsize=2, ecolor="#212529")
    for at, (_, middle, high) in enumerate(spans):
        axis.annotate(
            f"{middle:.2f}", (high, at), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0, labelsize=9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where the pictures go")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for path in asked.data:
        for name, table in json.loads(path.read_text()).get("tables", {}).items():
            if table["runs"]:
                picture(table, asked.folder / f"{name}.png")


if __name__ == "__main__":
    main()
