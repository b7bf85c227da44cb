"""The text that `hfprune prune` calibrates on: what the call names, else that of its recipe."""

from pathlib import Path
from typing import NamedTuple

from hfprune.assets.catalogue import Catalogue, CorpusAsset, MixedSource
from hfprune.assets.fetching import fetch_assets
from hfprune.assets.resolving import resolve
from hfprune.errors import HfpruneError
from hfprune.pruning.config import KINDS, Pruning
from hfprune.settings import load, validate

GENERAL, CODE, PAPER = "general-mix", "code-mix", "c4-sample"
# What `--text` may be called besides its name.
SHORT_NAMES = {"general": GENERAL, "code": CODE}


class CalibrationText(NamedTuple):
    """A text to calibrate on, and why it is this one."""

    name: str
    """As the catalogue or the user spells it; of a mix of the user's, that of its folder."""
    reason: str
    """Who chose it, as a clause; "" where the call names it."""
    shares: dict[str, int]
    """Of a mix, the share of each corpus in the characters; empty for another text."""
    mix: CorpusAsset | None = None
    """The entry of a mix of the user's, which no catalogue has."""

    def folder(self, resources: Path, catalogue: Path) -> Path:
        """Return the folder of the text, which is fetched unless it is there.

        Raises:
            HfpruneError: there is no such text, or it is not to be had.
        """
        if not self.mix:
            return resolve("corpora", self.name, resources, catalogue)
        fetch_assets({f"corpora/{self.name}": (self.name, self.mix)}, resources)
        return resources / "corpora" / self.name

    def about(self) -> str:
        """Return its name, who chose it, and what a mix is made of."""
        parts = [f"{share} part{'s' * (share > 1)} of {corpus}" for corpus, share in self.shares.items()]
        return f"{self.name}{self.reason and f', {self.reason}'}{': ' * bool(parts)}{', '.join(parts)}"


def calibration_text(asked: Pruning) -> CalibrationText:
    """Return the text that a call calibrates on.

    Raises:
        HfpruneError: the catalogue lacks a corpus of the mix, or does not pin it.
    """
    corpora = load(Catalogue, asked.catalogue).corpora
    if asked.mix:
        shares = {KINDS[kind]: share for kind, share in asked.mix.items()}
        if absent := [name for name in shares if name not in corpora]:
            raise HfpruneError(f"--mix: {asked.catalogue} has no corpus {absent[0]!r}; name other kinds")
        parts = {name: {"share": share, "corpus": corpora[name]} for name, share in shares.items()}
        entry = {"source": {"provider": "mixed", "parts": parts}, "format": "pieces"}
        name = "-".join(["mix", *(f"{kind}-{share}" for kind, share in asked.mix.items())])
        return CalibrationText(name, "", shares, validate(CorpusAsset, entry, "--mix"))
    name, reason = _named(asked)
    source = corpora[name].source if name in corpora else None
    shares = (
        {corpus: part.share for corpus, part in source.parts.items()}
        if isinstance(source, MixedSource)
        else {}
    )
    return CalibrationText(name, reason, shares)


def _named(asked: Pruning) -> tuple[str, str]:
    """Return the name of a text that is not mixed for this call, and who chose it."""
    if asked.text:
        return SHORT_NAMES.get(asked.text, asked.text), ""
    if asked.recipe == "paper":
        return PAPER, "as --recipe paper has it"
    return GENERAL, "the default"
