# Measurements of cells (the dense model with the plan and adapter applied in memory) and of scoring itself.


def measures_of(job):
    """Return the name of the rule that takes a job's measures, alone for a job of several cells."""
    named = "_".join(["measure", *job.measures])
    return named if CELLS_PER_JOB == 1 or job.cells[0].scored else f"{named}_{jobs_of('measure').index(job)}"


def folders(found):
    """Return a constraint of the first wildcard of the results: the folders of these jobs' cells only."""
    known = "|".join(
        re.escape(str(cell.out.relative_to(f"{RESULTS}/cells"))) for job in found for cell in job.cells
    )
    return f"(?=(?:{known})/)[^/]+"


# What makes the model of a cell, the blocks of scoring by a criterion, and what the measures read.
READ = "model plan checkpoint instead linear adapter resampled blocks measures after".split()


# What is measured of a cell is one job, or what is measured of several cells of a model (`cells_per_job`). A measure of
# time is a job of its own.
for name, found in alike(jobs_of("measure"), measures_of).items():
    folder = paths.SCORING if found[0].cells[0].scored else paths.CELL
    results = [str(file) for file in found[0].outputs()]
    if CELLS_PER_JOB > 1 and folder == paths.CELL:
        folder = "batches"
    else:
        results = [file.replace(str(found[0].cells[0].out), f"{RESULTS}/{folder}") for file in results]
    MEASURED = Jobs(results[0])

    rule:
        name:
            name
        input:
            **MEASURED.inputs(*READ),
        output:
            # Finished results stay when another is asked for; the command measures what is missing or has changed.
            update(results),
        log:
            f"{LOGS}/{folder}/{name}.log",
        wildcard_constraints:
            model=folders(found),
        # On a cluster, all measurements of a cell are one job, with one GPU.
        group:
            CELL_GROUP if folder == paths.CELL else None
        conda:
            ENVIRONMENT
        # A measure of time runs alone on the machine.
        threads: MEASURED.cores
        resources:
            **MEASURED.needs,
        params:
            **MEASURED.params,
        message:
            f"measure {', '.join(found[0].measures)} of {{params.about}}"
        shell:
            "hfprune measure --settings {params.settings:q} > {log} 2>&1"
