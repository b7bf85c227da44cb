"""Kinds of unit that can be pruned, their names, and their shares of the removed parameters; without torch."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from hfprune.errors import HfpruneError, distinct, nearest

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

# Prefixes of the names of units.
PREFIXES: dict[str, UnitKind] = {"mlp": "neurons", "attention": "key_value_groups", "layers": "layers"}


def kind_of(name: str) -> UnitKind:
    """Return the kind of unit that has this name in scores or a plan.

    Raises:
        HfpruneError: no kind of unit has such a name.
    """
    head, _, number = name.partition(".")
    if head not in PREFIXES or number.isdecimal() == (head == "layers"):
        raise HfpruneError(f"{name!r} names no units; names are mlp.0, attention.0, layers and so on")
    return PREFIXES[head]


def layer_of(name: str) -> int:
    """Return the decoder layer of the units `mlp.<layer>` or `attention.<layer>`."""
    return int(name.partition(".")[2])
