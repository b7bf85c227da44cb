"""`config/config.yaml`: which study a run makes, and for which device."""

from pydantic import Field, PositiveInt

from hfprune.settings import Strict


class Config(Strict):
    """`config/config.yaml`: the study to run."""

    study: str = Field(
        default="auto",
        description="a file in config/studies (without .yaml), or auto: the largest of the paper's studies that "
        "the visible device can run in a day, else demo",
    )
    device: str = Field(
        default="auto",
        description="the device by which memory and time of jobs are predicted, as `hfprune cost --device` names "
        "it; auto: the one that is visible",
    )
    cells_per_job: PositiveInt = Field(
        default=1,
        description="the most cells of one model that one process measures, one after another: 1 where many jobs "
        "run at once, more on a single GPU, where each start costs its time",
    )
