"""Mixtures: documents of several corpora in pieces, in proportions that hold for every beginning."""

from collections.abc import Iterator


def mixed(texts: list[list[str]], shares: list[int], characters: int) -> list[str]:
    """Return pieces of the documents of several texts, in order, with characters in the ratio of the shares.

    The next piece always comes from the text that is furthest behind its share, so that any beginning is off by at
    most one piece of each text. The mixture ends when a text runs out.
    """
    pieces = [_pieces(documents, characters) for documents in texts]
    counts, mixture = [0] * len(texts), list[str]()
    while True:
        behind = min(range(len(texts)), key=lambda text: counts[text] / shares[text])
        piece = next(pieces[behind], None)
        if piece is None:
            return mixture
        mixture.append(piece)
        counts[behind] += len(piece)


def _pieces(documents: list[str], most: int) -> Iterator[str]:
    """Yield documents in pieces of at most `most` characters that end, if possible, with a line or else a word."""
    for document in documents:
        rest = document
        while len(rest) > most:
            cuts = (rest.rfind(mark, most // 2, most) for mark in ("\n", " "))
            cut = next((cut for cut in cuts if cut > 0), most)
            yield rest[:cut]
            rest = rest[cut:]
        yield rest
