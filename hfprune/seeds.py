"""Seeds: one stream for each place of use."""

import hashlib


def derive_seed(seed: int, *place: object) -> int:
    """Derive the seed for one place of use from that of a draw, so that no two places share a stream."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
