"""Numbers and tables as aligned plain text."""

from collections.abc import Sequence

import numpy as np

COLUMNS = 8  # episodes that a table shows at most


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain-text table. The first column is aligned to the left, all others to the right."""
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def shown_episodes(num_episodes: int, most: int = COLUMNS) -> list[int]:
    """Indices of at most `most` episodes with the first and the last; most are early, where adaptation happens.

    >>> shown_episodes(100, 4)
    [0, 4, 21, 99]
    """
    if num_episodes <= most:
        return list(range(num_episodes))
    return sorted({round(index) - 1 for index in np.geomspace(1, num_episodes, most).tolist()})


def number(value: float, error: float | None = None) -> str:
    """`value` as text with four significant digits, or with the decimals that its `error` allows.

    >>> number(12.3456), number(12.3456, 0.5)
    ('12.35', '12.35 ± 0.50')
    """
    if error is not None and error > 0:
        decimals = int(np.clip(1 - np.floor(np.log10(error)), 0, 6))
        return f"{value:.{decimals}f} ± {error:.{decimals}f}"
    decimals = int(np.clip(3 - np.floor(np.log10(max(abs(value), 1e-3))), 0, 3))
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text
