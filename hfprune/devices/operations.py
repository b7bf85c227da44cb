"""The operations that this process has done, as the models that it reads count them."""


class Done:
    """The operations so far, and the dtype of the latest."""

    flops = 0.0
    dtype = ""


DONE = Done()
