"""`config/config.yaml`: the study of a run, and its device."""

from pydantic import Field, PositiveInt

from hfprune.settings import Strict


class Config(Strict):
    """`config/config.yaml`: the study to run."""

    study: str = Field(
        default="auto",
        description="a file in config/studies (without .yaml), or auto: the largest of the paper's studies that "
        "the visible device can run in a day, or else demo",
    )
    device: str = Field(
        default="auto",
        description="device for which memory and time of jobs are predicted, a name of `hfprune cost --device`; "
        "auto: the visible one",
    )
    cells_per_job: PositiveInt = Field(
        default=1,
        description="most cells of one model that one process measures in turn: 1 if many jobs run at once, more "
        "on a single GPU, where every start takes time",
    )
