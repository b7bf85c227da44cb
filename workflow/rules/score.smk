# From a corpus to blocks, from blocks to scores, from scores and a parameter budget to plans.
from hfprune.jobs.scoring import method_settings


# For a study with `dtype: auto`; alone on the machine, since it is a measurement of time.
rule dtype:
    output:
        f"{RESULTS}/{layout.DTYPE}",
    log:
        f"{LOGS}/dtype.log",
    conda:
        ENVIRONMENT
    threads: cores("dtype")
    resources:
        **needs("dtype"),
    params:
        settings=settings("dtype"),
    message:
        "the faster dtype"
    shell:
        "hfprune dtype --settings {params.settings:q} > {log} 2>&1"


rule budget:
    input:
        inputs("budget"),
    output:
        f"{RESULTS}/{layout.BUDGET}.json",
    log:
        f"{LOGS}/{layout.BUDGET}.log",
    # Seconds of one core: not worth a place in a queue.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        **limits("budget"),
    params:
        settings=settings("budget"),
    message:
        "budget of {wildcards.model} at {wildcards.ratio}"
    shell:
        "hfprune budget --settings {params.settings:q} > {log} 2>&1"


rule calibrate:
    input:
        inputs("calibrate"),
    output:
        f"{RESULTS}/{layout.BLOCKS}.safetensors",
    log:
        f"{LOGS}/{layout.BLOCKS}.log",
    conda:
        ENVIRONMENT
    resources:
        **limits("calibrate"),
    params:
        settings=settings("calibrate"),
    message:
        "calibrate {wildcards.model} on {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "hfprune calibrate --settings {params.settings:q} > {log} 2>&1"


# How a method scores, in a file of its own: behind an ancient input whose job runs, Snakemake ignores changed params,
# but notices a changed file.
rule method:
    output:
        f"{RESULTS}/{layout.METHOD}.json",
    log:
        f"{LOGS}/{layout.METHOD}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: method_settings(files(), wildcards.method),
    message:
        "settings of {wildcards.method}"
    shell:
        "echo {params.settings:q} > {output} 2> {log}"


for sweep, jobs in jobs_of("score").items():
    if sweep == "score_step":
        continue

    # A checkpoint, since Snakemake decides about nothing behind a job before it runs: with an ancient input between,
    # a changed setting of a measure would wait for the next run. After a checkpoint it looks again.
    checkpoint:
        name:
            sweep
        input:
            inputs(sweep),
        output:
            # Not removed before the job, which keeps finished scores: a new method is scored alone.
            update(
                expand(
                    f"{RESULTS}/{layout.SCORES}{{suffix}}",
                    method=jobs[0].config.methods,
                    suffix=[".safetensors", ".json", *[layout.RESAMPLED] * bool(RESAMPLES)],
                    allow_missing=True,
                )
            ),
        log:
            f"{LOGS}/sweeps/{{model}}/{sweep}/seed{{seed}}.log",
        wildcard_constraints:
            model=any_of(dict.fromkeys(job.model for job in jobs)),
        conda:
            ENVIRONMENT
        threads: cores(sweep)
        resources:
            **needs(sweep),
        params:
            settings=settings(sweep),
            dtype=measured_dtype,
            about=about(sweep),
        message:
            "score {params.about}"
        shell:
            "hfprune score --settings {params.settings:q} {params.dtype} > {log} 2>&1"


rule plan:
    input:
        inputs("plan"),
    output:
        plan=f"{RESULTS}/{layout.PLAN}.safetensors",
        size=f"{RESULTS}/{layout.PLAN}.json",
        resampled=f"{RESULTS}/{layout.PLAN}{layout.RESAMPLED}" if RESAMPLES else [],
    log:
        f"{LOGS}/{layout.PLAN}.log",
    wildcard_constraints:
        method=any_of(files().criteria),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        **limits("plan"),
    params:
        settings=settings("plan"),
    message:
        "plan {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune plan --settings {params.settings:q} > {log} 2>&1"


use rule plan as plan_step with:
    input:
        inputs("plan_step"),
    output:
        plan=f"{RESULTS}/{layout.STEP_PLAN}.safetensors",
        size=f"{RESULTS}/{layout.STEP_PLAN}.json",
    log:
        f"{LOGS}/{layout.STEP_PLAN}.log",
    wildcard_constraints:
        method=any_of(files().criteria),
    resources:
        **limits("plan_step"),
    params:
        settings=settings("plan_step"),
    message:
        "plan step {wildcards.step} of {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"


# What the plan of the step before has left. The first step scores the dense model, with the other methods.
rule score_step:
    input:
        inputs("score_step"),
    output:
        scores=f"{RESULTS}/{layout.STEP_SCORES}.safetensors",
        about=f"{RESULTS}/{layout.STEP_SCORES}.json",
        resampled=f"{RESULTS}/{layout.STEP_SCORES}{layout.RESAMPLED}" if RESAMPLES else [],
    log:
        f"{LOGS}/{layout.STEP_SCORES}.log",
    conda:
        ENVIRONMENT
    threads: cores("score_step")
    resources:
        **needs("score_step"),
    params:
        settings=settings("score_step"),
        dtype=measured_dtype,
    message:
        "score step {wildcards.step} of {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune score --settings {params.settings:q} {params.dtype} > {log} 2>&1"


rule adopt:
    input:
        inputs("adopt"),
    output:
        f"{RESULTS}/{layout.PLAN}.json",
    log:
        f"{LOGS}/{layout.PLAN}.adopt.log",
    wildcard_constraints:
        method=any_of(STUDY.methods.keys() - files().criteria.keys()),
    conda:
        ENVIRONMENT
    threads: cores("adopt")
    resources:
        **needs("adopt"),
    params:
        settings=settings("adopt"),
    message:
        "adopt {wildcards.model} pruned by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune adopt --settings {params.settings:q} > {log} 2>&1"
