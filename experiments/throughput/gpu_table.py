"""The results of `gpu.py` as Markdown. Needs nothing but Python."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
LINES = 15  # shown of what a part that failed printed last


def table(content: Mapping[str, Any]) -> str:
    """Every part of the file: what it ran on, how it ended, and its rows."""
    lines = [
        "# What `experiments/gpu.py` measured",
        *(line for name, entry in content.items() for line in _part(name, entry)),
    ]
    return "\n".join(lines) + "\n"


def summary(row: Row) -> str:
    """One row as one line, for people who watch."""
    if "failures" in row:
        return f"{row['title']}: {_counts(row)}"
    if "difference" in row:
        return f"{row['title']}: {_verdict(row)}"
    medians = ", ".join(f"{side} {_number(value)}" for side, value in row["medians"].items())
    return f"{row['title']} [{row['unit']}]: {medians}"


def _part(name: str, entry: Row) -> list[str]:
    machine = entry["machine"]
    facts = [
        str(machine.get("accelerator") or machine.get("processor") or "machine unknown"),
        f"torch {machine.get('torch')}, CUDA {machine.get('cuda')}, Python {machine.get('python')}",
        f"commit {(entry['commit'] or 'unknown')[:12]}{' with changes' if entry['dirty'] else ''}",
        entry["date"],
    ]
    ended = f"{entry['state']} after {entry['seconds']} s" if "seconds" in entry else entry["state"]
    lines = ["", f"## {name}", "", f"{'; '.join(facts)}. {ended[:1].upper()}{ended[1:]}."]
    for row in entry["rows"]:
        lines += ["", *_row(row)]
    return [*lines, *(_quoted(entry["output"][-LINES:]) if entry.get("output") else [])]


def _row(row: Row) -> list[str]:
    if "failures" in row:
        failures = (line for f in row["failures"] for line in ("", f"`{f['test']}`", *_quoted([f["traceback"]])))
        return [f"{row['title']}: {_counts(row)}", *failures]
    if "difference" in row:
        return [f"{row['title']}: {_verdict(row)}"]
    references = next(iter(row["ratios"].values()))
    head = [f"{row['title']} [{row['unit']}]", "median", "range", *(f"times {name}" for name in references)]
    return [_cells(head), "|" + "---|" * len(head), *(_cells(_side(row, side)) for side in row["medians"])]


def _side(row: Row, side: str) -> list[str]:
    values = row["rounds"][side]
    spread = f"{_number(min(values))} to {_number(max(values))}"
    return [side, _number(row["medians"][side]), spread, *(f"{ratio:.2f}" for ratio in row["ratios"][side].values())]


def _counts(row: Row) -> str:
    running = f", stopped in {row['running']}" if row["running"] else ""
    return f"{row['passed']} passed, {row['failed']} failed, {row['skipped']} skipped of {row['chosen']}{running}"


def _verdict(row: Row) -> str:
    said = "agrees" if row["agrees"] else "DIFFERS"
    return f"{said}, by {row['difference']} at most, in {row['tensor']} ({row['tolerance']} allowed)"


def _cells(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _quoted(lines: list[str]) -> list[str]:
    return ["", "```", *lines, "```"]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
