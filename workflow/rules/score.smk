# From a corpus to blocks, from blocks to scores, from scores and a parameter budget to plans.
from hfprune.study.files import method_settings

BUDGETS = Jobs(f"{RESULTS}/{paths.BUDGET}.json")
BLOCKS = Jobs(f"{RESULTS}/{paths.BLOCKS}.safetensors")
PLANS = Jobs(f"{RESULTS}/{paths.PLAN}.safetensors")
ADOPTED = Jobs(f"{RESULTS}/{paths.PLAN}.json")


# A rule calls the command of its stage with the settings of its job; `use rule … as …` takes all that is not said.
rule calibrate:
    input:
        **BLOCKS.inputs("model", "corpus"),
    output:
        BLOCKS.pattern,
    log:
        f"{LOGS}/{paths.BLOCKS}.log",
    conda:
        ENVIRONMENT
    resources:
        **BLOCKS.needs,
    params:
        **BLOCKS.params,
    message:
        "{rule} {params.about} on {wildcards.calibration}"
    shell:
        "hfprune {params.stage} --settings {params.settings:q} > {log} 2>&1"


use rule calibrate as budget with:
    input:
        **BUDGETS.inputs("model"),
    output:
        BUDGETS.pattern,
    log:
        f"{LOGS}/{paths.BUDGET}.log",
    priority: 1
    resources:
        **BUDGETS.limits,
    params:
        **BUDGETS.params,
    message:
        "{rule} of {params.about}"


# How a method scores, in a file: behind an ancient input whose job runs, Snakemake notices that, but no changed params.
rule method:
    output:
        f"{RESULTS}/{paths.METHOD}.json",
    log:
        f"{LOGS}/{paths.METHOD}.log",
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: method_settings(files(), wildcards.method),
    message:
        "settings of {wildcards.method}"
    shell:
        "echo {params.settings:q} > {output} 2> {log}"


for number, (scores, found) in enumerate(alike(jobs_of("score"), scores_of).items()):
    SCORES = Jobs(f"{scores[0]}.safetensors")

    # A checkpoint, since Snakemake decides about nothing behind a job before it runs: with an ancient input between,
    # a changed setting of a measure would wait for the next run. After a checkpoint it looks again.
    checkpoint:
        name:
            f"score_{number}"
        input:
            **SCORES.inputs("model", "blocks", "after"),
        output:
            # Not removed before the job, which keeps finished scores: a new method is scored alone.
            update([f"{one}{suffix}" for one in scores for suffix in SCORED]),
        log:
            f"{scores[0].replace(RESULTS, LOGS, 1)}.sweep.log",
        wildcard_constraints:
            model=any_of(dict.fromkeys(job.model_name() for job in found)),
            calibration=any_of(dict.fromkeys(job.cell.calibration for job in found)),
        conda:
            ENVIRONMENT
        threads: SCORES.cores
        resources:
            **SCORES.needs,
        params:
            **SCORES.params,
        message:
            "score {params.about}"
        shell:
            "hfprune score --settings {params.settings:q} > {log} 2>&1"


use rule calibrate as plan with:
    input:
        **PLANS.inputs("model", "scores", "resampled", "after"),
    output:
        plan=PLANS.pattern,
        size=f"{RESULTS}/{paths.PLAN}.json",
        resampled=f"{RESULTS}/{paths.PLAN}{paths.RESAMPLED}" if RESAMPLES else [],
    log:
        f"{LOGS}/{paths.PLAN}.log",
    wildcard_constraints:
        method=any_of(files().criteria),
    resources:
        **PLANS.limits,
    params:
        **PLANS.params,
    message:
        "{rule} {params.about}"


use rule calibrate as adopt with:
    input:
        **ADOPTED.inputs("model", "plan", "checkpoint"),
    output:
        ADOPTED.pattern,
    log:
        f"{LOGS}/{paths.PLAN}.adopt.log",
    wildcard_constraints:
        method=any_of(STUDY.methods.keys() - files().criteria.keys()),
    threads: ADOPTED.cores
    resources:
        **ADOPTED.needs,
    params:
        **ADOPTED.params,
    message:
        "{rule} {params.about}"
