# Measurements of cells (the dense model with the plan and adapter applied in memory) and of scoring itself.


# What is measured of a cell is one job, or what is measured of several cells of a model (`cells_per_job`). A measure of time
# is a job of its own.
for number, (names, folders, cells, cells_of) in enumerate(measurements()):

    mem_mb, gpu_mem_mb, runtime = limits(
        lambda wildcards, names=names, of=cells_of: COSTS.measure_each(names, of(wildcards))
    )
    chosen = {name: MEASURES[name] for name in names}

    rule:
        name:
            layout.measuring(names) + (f"_{number}" if CELLS_PER_JOB > 1 else "")
        input:
            model=lambda wildcards, of=cells_of: f"resources/models/{of(wildcards)[0].model}/asset.json",
            cells=lambda wildcards, names=names, of=cells_of: [
                file for cell in of(wildcards) for file in measured_input(cell, names)
            ],
            assets=expand(
                "resources/{asset}/asset.json",
                asset=sorted({asset for measure in chosen.values() for asset in measure.assets()}),
            ),
            files=sorted({str(path) for measure in chosen.values() for path in measure.files()}),
            dtype=[] if chosen[names[0]].dtype else DTYPE_FILE,
        output:
            # Finished results stay when another is asked for; the command measures what is missing or has changed.
            update([file for folder in folders for file in measured(names, folder)]),
        log:
            f"{LOGS}/{folders[0]}/{'_'.join(names)}.log",
        wildcard_constraints:
            model=where_cell_is(cells),
        # On a cluster, all measurements of a cell are one job, with one GPU.
        group:
            CELL_GROUP if CLUSTER and CELLS_PER_JOB == 1 else None
        conda:
            ENVIRONMENT
        # A measure of time runs alone on the machine.
        threads: cores if chosen[names[0]].exclusive or CLUSTER else 1
        resources:
            gpu=gpu,
            mem_mb=mem_mb,
            gpu_mem_mb=gpu_mem_mb,
            runtime=in_turns(runtime) if CELLS_PER_JOB == 1 else runtime,
        params:
            model=subpath(input.model, parent=True),
            names=", ".join(names),
            measures=json.dumps({name: asked(name) for name in names}),
            # Not on the command line: after a raised version, the measure runs again.
            versions=[measure.version for measure in chosen.values()],
            dtype=f"{chosen[names[0]].dtype}{PLACED}" if chosen[names[0]].dtype else dtype_of,
            cells=lambda wildcards, names=names, of=cells_of: shlex.join(
                to_measure(cell, names) for cell in of(wildcards)
            ),
            about=lambda wildcards, of=cells_of: "; ".join(map(spell_cell, of(wildcards))),
        message:
            "{params.names} of {params.about}"
        shell:
            "hfprune cells --measures {params.measures:q} --model {params.model} --dtype {params.dtype}"
            " --cells {params.cells} > {log} 2>&1"


for name, measure in MEASURES.items():
    if measure.needs != "criterion":
        continue

    mem_mb, gpu_mem_mb, runtime = limits(
        lambda wildcards, name=name: COSTS.measure([name], cell_of(wildcards))
    )

    rule:
        name:
            layout.measuring([name])
        input:
            model="resources/models/{model}/asset.json",
            blocks=lambda wildcards: blocks_of(wildcards.method),
            assets=expand("resources/{asset}/asset.json", asset=measure.assets()),
            files=[str(path) for path in measure.files()],
            dtype=[] if measure.dtype else DTYPE_FILE,
        output:
            measured([name], layout.SCORING),
        log:
            f"{LOGS}/{layout.SCORING}/{name}.log",
        conda:
            ENVIRONMENT
        threads: cores if measure.exclusive or CLUSTER else 1
        resources:
            gpu=gpu,
            mem_mb=mem_mb,
            gpu_mem_mb=gpu_mem_mb,
            runtime=runtime,
        params:
            model=subpath(input.model, parent=True),
            scoring=scoring_flags,
            measure=STUDY.measures[name].measure or name,
            name=name,
            settings=shlex.join(spell(measure)),
            version=measure.version,
            dtype=f"{measure.dtype}{PLACED}" if measure.dtype else dtype_of,
            cell=cell_flag,
            out=f"{RESULTS}/{layout.SCORING}",
        message:
            "{params.name} of {wildcards.model}, {params.cell}"
        shell:
            "hfprune measure {params.measure} --name {params.name} {params.settings} --model {params.model}"
            " {params.scoring} --dtype {params.dtype} --cell {params.cell} --out {params.out} > {log} 2>&1"


mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards: COSTS.distributions(wildcards.model))


rule distributions:
    input:
        model="resources/models/{model}/asset.json",
        blocks=expand(CALIBRATION_BLOCKS, seed=STUDY.seeds[0], allow_missing=True),
        dtype=DTYPE_FILE,
    output:
        f"{RESULTS}/{layout.DISTRIBUTIONS}.parquet",
    log:
        f"{LOGS}/{layout.DISTRIBUTIONS}.log",
    conda:
        ENVIRONMENT
    threads: cores if CLUSTER else 1
    resources:
        gpu=gpu,
        mem_mb=mem_mb,
        gpu_mem_mb=gpu_mem_mb,
        runtime=runtime,
    params:
        model=subpath(input.model, parent=True),
        dtype=dtype_of,
    message:
        "next-token distributions of {wildcards.model}"
    shell:
        "hfprune distributions --model {params.model} --blocks {input.blocks} --dtype {params.dtype}"
        " --out {output} > {log} 2>&1"
