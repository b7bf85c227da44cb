# Measurements of cells (the dense model with the plan and adapter applied in memory) and of scoring itself.


for name, measure in MEASURES.items():

    mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards, name=name: COSTS.measure(name, cell_of(wildcards)))

    rule:
        name:
            f"measure_{name}"
        input:
            model="resources/models/{model}/asset.json",
            plan=[] if measure.needs == "criterion" else plan_input,
            resampled=resampled_input(measure),
            adapter=[] if measure.needs == "criterion" else adapter_input,
            blocks=(lambda wildcards: blocks_of(wildcards.method)) if measure.needs == "criterion" else [],
            assets=expand("resources/{asset}/asset.json", asset=measure.assets()),
            files=[str(path) for path in measure.files()],
            dtype=[] if measure.dtype else DTYPE_FILE,
        output:
            results=measured(name, layout.SCORING if measure.needs == "criterion" else layout.CELL, "json"),
            per_item=measured(
                name, layout.SCORING if measure.needs == "criterion" else layout.CELL, "parquet"
            ),
        log:
            f"{LOGS}/{layout.SCORING if measure.needs == 'criterion' else layout.CELL}/{name}.log",
        # On a cluster, all measurements of a cell are one job, with one GPU.
        group:
            CELL_GROUP if CLUSTER and measure.needs != "criterion" else None
        conda:
            ENVIRONMENT
        # A measure of time runs alone on the machine.
        threads: cores if measure.exclusive or CLUSTER else 1
        resources:
            gpu=gpu,
            mem_mb=mem_mb,
            gpu_mem_mb=gpu_mem_mb,
            runtime=in_turns(runtime),
        params:
            model=subpath(input.model, parent=True),
            plan=plan_flag,
            adapter=adapter_flag,
            resampled=lambda wildcards, input: f"--resampled {input.resampled}" if input.resampled else "",
            scoring=scoring_flags if measure.needs == "criterion" else "",
            measure=STUDY.measures[name].measure or name,
            name=name,
            settings=shlex.join(spell(measure)),
            # Not on the command line: after a raised version, the measure runs again.
            version=measure.version,
            dtype=f"{measure.dtype}{PLACED}" if measure.dtype else dtype_of,
            cell=cell_flag,
            out=f"{RESULTS}/{layout.SCORING if measure.needs == 'criterion' else layout.CELL}",
        message:
            "{params.name} of {wildcards.model}, {params.cell}"
        shell:
            "hfprune measure {params.measure} --name {params.name} {params.settings}"
            " --model {params.model} {params.plan} {params.resampled} {params.adapter} {params.scoring} --dtype {params.dtype}"
            " --cell {params.cell} --out {params.out} > {log} 2>&1"


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
