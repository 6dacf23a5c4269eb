"""Names that a person types for what an experiment has."""

from collections.abc import Collection


def refuse_unknown(names: Collection[str], known: Collection[str], what: str) -> None:
    """SystemExit that lists the known ones if any of `names` is not among them."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what} {unknown}; known: {', '.join(known)}")
