"""The one exception whose message is meant for the user."""


class HfpruneError(Exception):
    """Says in one line what is wrong, where, and what to do; the CLI prints it without a traceback."""
