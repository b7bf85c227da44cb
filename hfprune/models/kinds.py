"""Kinds of unit that can be pruned, and their shares of what is removed; free of torch, for settings."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from hfprune.settings import distinct, nearest

UnitKind = Literal["neurons", "key_value_groups", "layers"]


def _unit_shares(given: Any) -> Any:
    """Read a kind, a list of kinds, or kinds with their shares, as a mapping from kind to share or `None`."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        given = dict.fromkeys(distinct([*given]))
    if not isinstance(given, dict):
        return given
    for kind in given:
        if kind not in get_args(UnitKind):
            raise ValueError(f"unknown kind of unit {kind!r}{nearest(str(kind), [*get_args(UnitKind)])}")
    shares = [share for share in given.values() if share is not None]
    if not given or (shares and (len(shares) < len(given) or abs(sum(shares) - 1) > 1e-6)):
        raise ValueError(
            "give a kind of unit, or several, or shares of the removed parameters that add up to 1"
        )
    return given


# Kind → its share of the removed parameters. Without shares, the same fraction of every kind is removed.
UnitShares = Annotated[
    dict[UnitKind, Annotated[float, Field(gt=0, le=1)] | None], BeforeValidator(_unit_shares)
]
