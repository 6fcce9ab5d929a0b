"""Printing what was measured: a table for a terminal, and percentiles of a list of times."""

from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of `values` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table whose columns are as wide as they must be; figures are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(head), *cells]) for column in range(len(head))]
    print(f"\n{title}")
    for line in (list(head), ["-" * width for width in widths], *cells):
        first, *rest = line
        print(
            "  ".join(
                [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
            )
        )


def verdict(name: str, value: float, limit: float, at_most: bool = True) -> bool:
    """Print whether a figure keeps its bound; return it."""
    good = value <= limit if at_most else value >= limit
    print(f"{'ok  ' if good else 'MISS'}  {name}: {value:.2f} ({'at most' if at_most else 'at least'} {limit:g})")
    return good
