# From a plan, or the dense model, to what recovers: first weights, for all plans of a model that read the same blocks.
for number, job in enumerate(jobs_of("linear")):
    SOLVED = Jobs(job.outputs()[0])

    rule:
        name:
            f"linear_{number}"
        input:
            **SOLVED.inputs("model", "blocks", "plan"),
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
            **SOLVED.params,
        message:
            "linear recovery of {params.about}"
        shell:
            "hfprune linear --settings {params.settings:q} > {log} 2>&1"


PAIRS = Jobs(f"{RESULTS}/{paths.PAIRS}.safetensors")
ADAPTERS = Jobs(f"{RESULTS}/{paths.RECOVERY}/{ADAPTER}")


# Once for all recoveries of a model: minutes of one core, during which no GPU waits. Kept: if the pairs were made again
# for one more recovery, Snakemake would make all of them again.
use rule calibrate as pack with:
    input:
        **PAIRS.inputs("model", "instructions"),
    output:
        PAIRS.pattern,
    log:
        f"{LOGS}/{paths.PAIRS}.log",
    resources:
        **PAIRS.limits,
    params:
        **PAIRS.params,
    message:
        "{rule} instruction pairs for {params.about}"


use rule calibrate as recover with:
    input:
        **ADAPTERS.inputs("model", "plan", "checkpoint", "linear", "packed", "after"),
    output:
        # Kept while the job looks whether they are current, as where a new plan joined those that are solved.
        update([f"{RESULTS}/{paths.RECOVERY}/{file}" for file in (ADAPTER, ADAPTER_CONFIG, RECOVERED)]),
    log:
        f"{LOGS}/{paths.RECOVERY}.log",
    wildcard_constraints:
        recovery=r"lora|linear\+lora",
    # It resumes: one that takes longer than any job may is made in several. The machine that submits counts.
    retries: 50 if SUBMITS else None
    threads: ADAPTERS.cores
    resources:
        **ADAPTERS.needs,
    params:
        **ADAPTERS.params,
    message:
        "{rule} {params.about}"
