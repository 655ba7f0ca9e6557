"""The log of a run -> its curves as a PNG."""

import json
from math import nan
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

CURVES = {
    "loss": ("kind", "colour", "letter", "left", "place", "count", "where", "answer"),
    "accuracy": (
        "kind_accuracy",
        "colour_accuracy",
        "letter_accuracy",
        "left_accuracy",
        "place_accuracy",
        "count_accuracy",
        "where_accuracy",
        "token_accuracy",
    ),
    "accuracy of names": (
        "asked_kind_accuracy",
        "asked_where_accuracy",
        "asked_same_kind_accuracy",
        "asked_rank_accuracy",
        "said_changed_accuracy",
        "asked_first_kind_accuracy",
        "said_kind_accuracy",
        "said_letter_accuracy",
    ),
}


def plot(log: Path, target: Path) -> None:
    """Losses above, accuracies below, over the number of pictures; a vertical line where a stage begins."""
    if not (lines := [json.loads(line) for line in log.read_text().splitlines()]):
        return
    pictures = [line["pictures"] for line in lines]
    logged = {name for line in lines for name in line}
    shown = {title: [name for name in names if name in logged] for title, names in CURVES.items()}
    shown = {title: names for title, names in shown.items() if names}  # a run of only the tower has no names
    figure, axes = plt.subplots(
        len(shown), 1, sharex=True, squeeze=False, figsize=(9, 10 * len(shown) / len(CURVES)), layout="constrained"
    )
    panels = axes[:, 0]
    for panel, (title, names) in zip(panels, shown.items(), strict=True):
        for name in names:
            panel.plot(pictures, [line.get(name, nan) for line in lines], label=name)  # a gap where there is no value
        panel.set_ylabel(title)
        panel.legend()
    starts = {line["stage"]: line["pictures"] for line in reversed(lines)}
    for stage, start in starts.items():
        panels[0].axvline(start, color="grey", linewidth=0.5)
        panels[0].text(start, panels[0].get_ylim()[1], f" {stage}", va="top", fontsize=8)
    panels[-1].set_xlabel("pictures")
    figure.savefig(target, dpi=110)
    plt.close(figure)
