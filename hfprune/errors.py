"""The one exception whose message is meant for the user."""


class HfpruneError(Exception):
    """States the problem, its place and the remedy in one line; the CLI prints it without a traceback."""


class UnavailableError(HfpruneError):
    """A source is not available here and now; another source may be."""
