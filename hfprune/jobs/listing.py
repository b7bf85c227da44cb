"""From a study to its jobs."""

from collections.abc import Iterator

from hfprune.jobs import measuring, scoring
from hfprune.jobs.files import Files
from hfprune.jobs.job import Job
from hfprune.study.references import study_assets


def list_jobs(files: Files) -> Iterator[Job]:
    """Yield every job of a study in the order of the flow, but those of baselines and of the publication."""
    study = files.study
    yield from (scoring.fetch_job(files, asset) for asset in study_assets(study))
    if study.dtype == "auto":
        yield scoring.dtype_job(files)
    for model in study.models:
        yield from (scoring.budget_job(files, model, ratio) for ratio in study.ratios_of(model))
        for corpus in dict.fromkeys(map(study.corpus_of, study.methods_of(model))):
            yield from (scoring.calibrate_job(files, model, corpus, seed) for seed in study.seeds)
    yield from scoring.scores(files)
    for cell in scoring.pruned(files):
        yield from scoring.plans(files, cell)
    yield from measuring.recoveries(files)
    yield from measuring.measurements(files)
    yield from measuring.measurements_of_scoring(files)
