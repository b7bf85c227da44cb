# From a plan (none for the dense model) to an adapter that recovers the losses of pruning.


# Weights that are solved again without training, for all plans of a model that read the same blocks.
for number, job in enumerate(jobs_of("linear")):
    SOLVED = Jobs(job.outputs()[0])

    rule:
        name:
            f"linear_{number}"
        input:
            SOLVED.inputs,
        output:
            update([str(file) for file in job.outputs()]),
        log:
            f"{LOGS}/linear_{number}.log",
        conda:
            ENVIRONMENT
        threads: SOLVED.cores
        resources:
            **SOLVED.needs,
        params:
            settings=SOLVED.settings,
            about=SOLVED.about,
        message:
            "linear recovery of {params.about}"
        shell:
            "hfprune linear --settings {params.settings:q} > {log} 2>&1"


# Kept: if it were made again for one more recovery, Snakemake would make all of them again.
PAIRS = Jobs(f"{RESULTS}/{layout.PAIRS}.safetensors")


# Once for all recoveries of a model: minutes of one core, during which no GPU waits.
rule pack:
    input:
        PAIRS.inputs,
    output:
        PAIRS.pattern,
    log:
        f"{LOGS}/{layout.PAIRS}.log",
    conda:
        ENVIRONMENT
    resources:
        **PAIRS.limits,
    params:
        settings=PAIRS.settings,
    message:
        "pack pairs for {wildcards.model}, seed {wildcards.seed}"
    shell:
        "hfprune pack --settings {params.settings:q} > {log} 2>&1"


ADAPTERS = Jobs(f"{RESULTS}/{layout.RECOVERY}/{ADAPTER}")


rule recover:
    input:
        ADAPTERS.inputs,
    output:
        # Kept while the job looks whether they are current, as where a new plan joined those that are solved.
        update([f"{RESULTS}/{layout.RECOVERY}/{file}" for file in (ADAPTER, ADAPTER_CONFIG, RECOVERED)]),
    log:
        f"{LOGS}/{layout.RECOVERY}.log",
    wildcard_constraints:
        recovery=r"lora|linear\+lora",
    # It resumes: one that takes longer than any job may is made in several. The machine that submits counts.
    retries: 50 if SUBMITS else None
    conda:
        ENVIRONMENT
    threads: ADAPTERS.cores
    resources:
        **ADAPTERS.needs,
    params:
        settings=ADAPTERS.settings,
    message:
        "recover {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune recover --settings {params.settings:q} > {log} 2>&1"
