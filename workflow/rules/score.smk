# From a corpus to blocks, from blocks to scores, from scores and a parameter budget to plans.


# For a study with `dtype: auto`; alone on the machine, since it is a measurement of time.
rule dtype:
    output:
        f"{RESULTS}/{layout.DTYPE}",
    log:
        f"{LOGS}/dtype.log",
    conda:
        ENVIRONMENT
    threads: cores
    resources:
        gpu=gpu,
        mem_mb=small_mem_mb("dtype"),
        runtime=small_runtime("dtype"),
    message:
        "the faster dtype"
    shell:
        "hfprune dtype --out {output} > {log} 2>&1"


rule budget:
    input:
        model="resources/models/{model}/asset.json",
    output:
        f"{RESULTS}/{layout.BUDGET}.json",
    log:
        f"{LOGS}/{layout.BUDGET}.log",
    # Seconds of one core: not worth a place in a queue.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=small_mem_mb("budget"),
        runtime=small_runtime("budget"),
    params:
        model=subpath(input.model, parent=True),
        ratios=lambda wildcards: STUDY.ratios_of(wildcards.model),
        units=f"--units {shlex.join(UNITS)}" if UNITS else "",
        own=own_budgets,
        floor=f"--floor {max(FLOORS)}" if FLOORS else "",
    message:
        "budget of {wildcards.model} at {params.ratios}"
    shell:
        "(hfprune budget --model {params.model} --ratios {params.ratios} {params.units} {params.floor} --out {output}"
        "{params.own}) > {log} 2>&1"


# For baselines, which take a share of the neurons.
rule ratio_budget:
    input:
        model="resources/models/{model}/asset.json",
    output:
        f"{RESULTS}/{layout.RATIO_BUDGET}.json",
    log:
        f"{LOGS}/{layout.RATIO_BUDGET}.log",
    # Seconds of one core: not worth a place in a queue.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=small_mem_mb("budget"),
        runtime=small_runtime("budget"),
    params:
        model=subpath(input.model, parent=True),
    message:
        "budget of {wildcards.model} at {wildcards.ratio}"
    shell:
        "hfprune budget --model {params.model} --ratios {wildcards.ratio} --out {output} > {log} 2>&1"


rule calibrate:
    input:
        model="resources/models/{model}/asset.json",
        corpus="resources/corpora/{corpus}/asset.json",
    output:
        f"{RESULTS}/{layout.BLOCKS}.safetensors",
    log:
        f"{LOGS}/{layout.BLOCKS}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=small_mem_mb("calibrate"),
        runtime=small_runtime("calibrate"),
    params:
        model=subpath(input.model, parent=True),
        corpus=subpath(input.corpus, parent=True),
        # One by one: Snakemake notices no change of an object.
        sequences=STUDY.calibration.sequences,
        length=STUDY.calibration.length,
        sampling=STUDY.calibration.sampling,
    message:
        "calibrate {wildcards.model} on {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "hfprune calibrate --model {params.model} --corpus {params.corpus}"
        " --sequences {params.sequences} --length {params.length}"
        " --sampling {params.sampling} --seed {wildcards.seed} --out {output} > {log} 2>&1"


# How a method scores, in a file of its own: behind an ancient input whose job runs, Snakemake ignores changed params,
# but notices a changed file.
rule method:
    output:
        f"{RESULTS}/{layout.METHOD}.json",
    log:
        f"{LOGS}/{layout.METHOD}.log",
    wildcard_constraints:
        method=any_of(CRITERIA),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        scored=lambda wildcards: json.dumps(
            [SCORED[wildcards.method], sequences_flag(wildcards.method), UNTIL, STUDY.dtype]
            + [RESAMPLES] * bool(RESAMPLES)
        ),
    message:
        "settings of {wildcards.method}"
    shell:
        "echo {params.scored:q} > {output} 2> {log}"


for number, (methods, models) in enumerate(SWEEPS):

    mem_mb, gpu_mem_mb, runtime = limits(
        lambda wildcards, number=number: COSTS.score(number, wildcards.model)
    )

    # A checkpoint, since Snakemake decides about nothing behind a job before it runs: with an ancient input between,
    # a changed setting of a measure would wait for the next run. After a checkpoint it looks again.
    checkpoint:
        name:
            f"score_{number}"
        input:
            model="resources/models/{model}/asset.json",
            # A ratio that cannot be reached fails before hours of scoring. With a new ratio, the job finds its scores.
            budget=f"{RESULTS}/{layout.BUDGET}.json",
            blocks=blocks_of(methods[0]),
            dtype=DTYPE_FILE,
            methods=expand(f"{RESULTS}/{layout.METHOD}.json", method=methods),
        output:
            # Not removed before the job, which keeps finished scores: a new method is scored alone.
            scores=update(
                expand(f"{RESULTS}/{layout.SCORES}.safetensors", method=methods, allow_missing=True)
            ),
            about=update(expand(f"{RESULTS}/{layout.SCORES}.json", method=methods, allow_missing=True)),
            resampled=update(
                expand(
                    f"{RESULTS}/{layout.SCORES}{layout.RESAMPLED}",
                    method=methods if RESAMPLES else [],
                    allow_missing=True,
                )
            ),
        log:
            f"{LOGS}/sweeps/{{model}}/{number}/seed{{seed}}.log",
        wildcard_constraints:
            model=any_of(models),
        conda:
            ENVIRONMENT
        threads: cores
        resources:
            gpu=gpu,
            mem_mb=mem_mb,
            gpu_mem_mb=gpu_mem_mb,
            runtime=runtime,
        params:
            model=subpath(input.model, parent=True),
            blocks=lambda wildcards, input: f"--blocks {input.blocks}" if input.blocks else "",
            methods=json.dumps({method: SCORED[method] for method in methods}),
            names=", ".join(methods),
            units=json.dumps(SCORED[methods[0]]["units"]),
            sequences=sequences_flag(methods[0]),
            until=f"--until-agreement {UNTIL}" if UNTIL else "",
            resamples=f"--resamples {RESAMPLES}" if RESAMPLES else "",
            dtype=dtype_of,
            # The command fills in the method, since there are several.
            cell=lambda wildcards: f"{NAME}/{wildcards.model}/{{method}}//{wildcards.seed}/none",
            out=lambda wildcards: f"{RESULTS}/{layout.SCORES}.safetensors".format(
                model=wildcards.model, method="{method}", seed=wildcards.seed
            ),
        message:
            "score {wildcards.model} by {params.names}, seed {wildcards.seed}"
        shell:
            "hfprune score --model {params.model} {params.blocks} --methods {params.methods:q}"
            " --units {params.units:q}"
            " {params.sequences} {params.until} {params.resamples} --seed {wildcards.seed} --dtype {params.dtype}"
            " --cell {params.cell:q} --out {params.out:q} > {log} 2>&1"


rule plan:
    input:
        model="resources/models/{model}/asset.json",
        scores=scores_input,
        resampled=resampled_scores,
        method=f"{RESULTS}/{layout.METHOD}.json",
        blocks=lambda wildcards: blocks_of(wildcards.method),
    output:
        plan=f"{RESULTS}/{layout.PLAN}.safetensors",
        size=f"{RESULTS}/{layout.PLAN}.json",
        resampled=f"{RESULTS}/{layout.PLAN}{layout.RESAMPLED}" if RESAMPLES else [],
    log:
        f"{LOGS}/{layout.PLAN}.log",
    wildcard_constraints:
        method=any_of(CRITERIA),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=small_mem_mb("plan"),
        runtime=small_runtime("plan"),
    params:
        model=subpath(input.model, parent=True),
        units=lambda wildcards: json.dumps(STUDY.methods[wildcards.method].units),
        allocation=allocation_flag,
        part=part_flag,
        resampled=lambda wildcards, input: f"--resampled {input.resampled}" if input.resampled else "",
        cell=cell_flag,
    message:
        "plan {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune plan --model {params.model} --scores {input.scores} --ratio {wildcards.ratio}"
        " --units {params.units:q} {params.allocation} {params.part} {params.resampled} --cell {params.cell}"
        " --out {output.plan} > {log} 2>&1"


use rule plan as plan_step with:
    output:
        plan=f"{RESULTS}/{layout.STEP_PLAN}.safetensors",
        size=f"{RESULTS}/{layout.STEP_PLAN}.json",
    log:
        f"{LOGS}/{layout.STEP_PLAN}.log",
    wildcard_constraints:
        method=any_of(IN_STEPS),
    message:
        "plan step {wildcards.step} of {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"


mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards: COSTS.score_step(cell_of(wildcards)))


# What the plan of the step before has left. The first step scores the dense model, with the other methods.
rule score_step:
    input:
        model="resources/models/{model}/asset.json",
        plan=lambda wildcards: f"{RESULTS}/{layout.STEP_PLAN}.safetensors".format(
            **{**wildcards, "step": int(wildcards.step) - 1}
        ),
        method=f"{RESULTS}/{layout.METHOD}.json",
        blocks=lambda wildcards: blocks_of(wildcards.method),
        dtype=DTYPE_FILE,
    output:
        scores=f"{RESULTS}/{layout.STEP_SCORES}.safetensors",
        about=f"{RESULTS}/{layout.STEP_SCORES}.json",
        resampled=f"{RESULTS}/{layout.STEP_SCORES}{layout.RESAMPLED}" if RESAMPLES else [],
    log:
        f"{LOGS}/{layout.STEP_SCORES}.log",
    wildcard_constraints:
        method=any_of(IN_STEPS),
    conda:
        ENVIRONMENT
    threads: cores
    resources:
        gpu=gpu,
        mem_mb=mem_mb,
        gpu_mem_mb=gpu_mem_mb,
        runtime=runtime,
    params:
        model=subpath(input.model, parent=True),
        scoring=scoring_flags,
        sequences=lambda wildcards: sequences_flag(wildcards.method),
        until=f"--until-agreement {UNTIL}" if UNTIL else "",
        resamples=f"--resamples {RESAMPLES}" if RESAMPLES else "",
        dtype=dtype_of,
        cell=cell_flag,
    message:
        "score step {wildcards.step} of {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune score --model {params.model} --plan {input.plan} {params.scoring}"
        " {params.sequences} {params.until} {params.resamples} --dtype {params.dtype}"
        " --cell {params.cell} --out {output.scores} > {log} 2>&1"


mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards: COSTS.adopt(cell_of(wildcards)))


rule adopt:
    input:
        model="resources/models/{model}/asset.json",
        pruned=lambda wildcards: baseline_output(cell_of(wildcards)),
    output:
        f"{RESULTS}/{layout.PLAN}.json",
    log:
        f"{LOGS}/{layout.PLAN}.adopt.log",
    wildcard_constraints:
        method=any_of(STUDY.methods.keys() - CRITERIA.keys()),
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
        pruned=lambda wildcards, input: pruned_flag(input.pruned),
        cell=cell_flag,
    message:
        "adopt {wildcards.model} pruned by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune adopt --model {params.model} {params.pruned} --ratio {wildcards.ratio}"
        " --cell {params.cell} --out {output} > {log} 2>&1"
