# From a plan (none for the dense model) to an adapter that recovers the losses of pruning.


# Weights that are solved again without training, for all plans of a model that read the same blocks.
for name, jobs in jobs_of("linear").items():

    rule:
        name:
            name
        input:
            inputs(name),
        output:
            update(jobs[0].outputs["solved"]),
        log:
            f"{LOGS}/{name}.log",
        conda:
            ENVIRONMENT
        threads: cores(name)
        resources:
            **needs(name),
        params:
            settings=settings(name),
            dtype=measured_dtype,
            about=about(name),
        message:
            "linear recovery of {params.about}"
        shell:
            "hfprune linear --settings {params.settings:q} {params.dtype} > {log} 2>&1"


# Once for all recoveries of a model: minutes of one core, during which no GPU waits.
rule pack:
    input:
        inputs("pack"),
    output:
        # Kept: if it were made again for one more recovery, Snakemake would make all of them again.
        f"{RESULTS}/{layout.PAIRS}.safetensors",
    log:
        f"{LOGS}/{layout.PAIRS}.log",
    conda:
        ENVIRONMENT
    resources:
        **limits("pack"),
    params:
        settings=settings("pack"),
    message:
        "pack pairs for {wildcards.model}, seed {wildcards.seed}"
    shell:
        "hfprune pack --settings {params.settings:q} > {log} 2>&1"


rule recover:
    input:
        inputs("recover"),
    output:
        # Kept while the job looks whether they are current, as where a new plan joined those that are solved.
        update(
            expand(
                f"{RESULTS}/{layout.RECOVERY}/{{file}}",
                file=[ADAPTER, ADAPTER_CONFIG, RECOVERED],
                allow_missing=True,
            )
        ),
    log:
        f"{LOGS}/{layout.RECOVERY}.log",
    wildcard_constraints:
        recovery=r"lora|linear\+lora",
    # It resumes: one that takes longer than any job may is made in several. The machine that submits counts.
    retries: 50 if SUBMITS else None
    conda:
        ENVIRONMENT
    threads: cores("recover")
    resources:
        **needs("recover"),
    params:
        settings=settings("recover"),
        dtype=measured_dtype,
    message:
        "recover {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune recover --settings {params.settings:q} {params.dtype} > {log} 2>&1"
