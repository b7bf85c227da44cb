"""The operations that this process has done, as the models that it reads count them."""


class Operations:
    """The operations so far, and the dtype of the latest."""

    flops = 0.0
    dtype = ""


DONE = Operations()
