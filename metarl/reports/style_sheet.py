"""The style sheet of the report: one column of text and figures, readable by day and by night, and on paper."""

from metarl.reports.style import INK, MUTED, RULE, SERIES

_NIGHT_SERIES = ("#5aa9e6", "#f0824a", "#3dc99d", "#e0a3c4", "#f2b84b", "#8fd0f5", "#c9a66b", "#a8a8a8")


def _variables(ground: str, ink: str, muted: str, rule: str, series: tuple[str, ...]) -> str:
    colors = "".join(f"--series-{i}: {color}; " for i, color in enumerate(series))
    return f":root {{ --ground: {ground}; --ink: {ink}; --muted: {muted}; --rule: {rule}; {colors}}}"


STYLE_SHEET = (
    f"{_variables('#ffffff', INK, MUTED, RULE, SERIES)}\n"
    "@media (prefers-color-scheme: dark) { "
    f"{_variables('#15171b', '#e6e8eb', '#9aa1ab', '#32363d', _NIGHT_SERIES)} }}"
    """
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%; }
main { max-width: 54rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.4rem; text-wrap: balance; }
h2 { font-size: 1.2rem; letter-spacing: -0.005em; margin: 0 0 1rem; padding-top: 1.5rem;
  border-top: 1px solid var(--rule); }
section { margin-top: 3rem; }
p { margin: 0.5rem 0; }
.muted, figcaption { color: var(--muted); font-size: 0.875rem; }
.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.75rem 0 0; }
.facts dt { color: var(--muted); font-size: 0.8rem; }
.facts dd { margin: 0; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 2.25rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { margin-top: 0.5rem; max-width: 42rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.8125rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0 0.4rem 0.9rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { color: var(--muted); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr:first-child td { font-weight: 600; }
.config th { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: 0.8rem; width: 40%; }
.config td { text-align: left; white-space: normal; overflow-wrap: anywhere; font-weight: 400 !important; }
/* heat maps are pictures in one blue that cannot follow the variables */
@media (prefers-color-scheme: dark) { figure svg image { filter: brightness(1.8); } }
@media print { main { max-width: none; padding: 0; } figure, table { break-inside: avoid; } }
"""
)
