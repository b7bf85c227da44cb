"""Mixtures: documents of several corpora in pieces, in proportions that hold for every beginning."""

from collections.abc import Iterator


def mixed(texts: list[list[str]], shares: list[int], characters: int) -> list[str]:
    """Return pieces of the documents of several texts, in order, with characters in the ratio of the shares.

    The next piece is always of the text that is furthest behind, so that any beginning is off by no more than one
    piece of each. Where a text has no more, the mixture ends.
    """
    pieces = [_pieces(documents, characters) for documents in texts]
    taken, found = [0.0] * len(texts), list[str]()
    while True:
        behind = min(range(len(texts)), key=lambda text: taken[text] / shares[text])
        piece = next(pieces[behind], None)
        if piece is None:
            return found
        found.append(piece)
        taken[behind] += len(piece)


def _pieces(documents: list[str], most: int) -> Iterator[str]:
    """Yield documents in pieces of so many characters at most, which end with a line, else a word, if they can."""
    for document in documents:
        rest = document
        while len(rest) > most:
            cuts = (rest.rfind(mark, most // 2, most) for mark in ("\n", " "))
            cut = next((cut for cut in cuts if cut > 0), most)
            yield rest[:cut]
            rest = rest[cut:]
        yield rest
