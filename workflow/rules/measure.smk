# Measurements of cells (the dense model with the plan and adapter applied in memory) and of scoring itself.
from hfprune.jobs.measuring import matching, measured, results_folder

# What is measured of a cell is one job, or what is measured of several cells of a model (`cells_per_job`). A measure of
# time is a job of its own.
for name, jobs in jobs_of("measure").items():

    rule:
        name:
            name
        input:
            inputs(name),
        output:
            # Finished results stay when another is asked for; the command measures what is missing or has changed.
            update(measured(files(), jobs[0])),
        log:
            f"{LOGS}/{results_folder(jobs[0])}/{name}.log",
        wildcard_constraints:
            model=matching(jobs),
        # On a cluster, all measurements of a cell are one job, with one GPU.
        group:
            CELL_GROUP if "recovery" in jobs[0].at else None
        conda:
            ENVIRONMENT
        # A measure of time runs alone on the machine.
        threads: cores(name)
        resources:
            **needs(name),
        params:
            settings=settings(name),
            dtype=measured_dtype,
            # Not on the command line: after a raised version, the measure runs again.
            versions=trigger(name),
            about=about(name),
        message:
            "{rule} of {params.about}"
        shell:
            "hfprune measure --settings {params.settings:q} {params.dtype} > {log} 2>&1"
