# From a corpus to blocks, from blocks to scores, from scores and a parameter budget to plans.


rule budget:
    input:
        model="resources/models/{model}/asset.json",
    output:
        f"{RESULTS}/{layout.BUDGET}.json",
    log:
        f"{LOGS}/{layout.BUDGET}.log",
    conda:
        ENVIRONMENT
    params:
        model=subpath(input.model, parent=True),
        ratios=lambda wildcards: STUDY.ratios_of(wildcards.model),
        parts=PARTS,
        floor=f"--floor {max(FLOORS)}" if FLOORS else "",
    message:
        "budget of {wildcards.model} at {params.ratios}"
    shell:
        "hfprune budget --model {params.model} --ratios {params.ratios} --parts {params.parts}"
        " {params.floor} --out {output} > {log} 2>&1"


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
    params:
        model=subpath(input.model, parent=True),
        corpus=subpath(input.corpus, parent=True),
        calibration=STUDY.calibration,
    message:
        "calibrate {wildcards.model} on {wildcards.corpus}, seed {wildcards.seed}"
    shell:
        "hfprune calibrate --model {params.model} --corpus {params.corpus}"
        " --sequences {params.calibration.sequences} --length {params.calibration.length}"
        " --sampling {params.calibration.sampling} --seed {wildcards.seed} --out {output} > {log} 2>&1"


rule score:
    input:
        model="resources/models/{model}/asset.json",
        # A ratio that cannot be reached fails before hours of scoring; a new ratio needs no new scores.
        budget=ancient(f"{RESULTS}/{layout.BUDGET}.json"),
        blocks=blocks_input,
    output:
        scores=f"{RESULTS}/{layout.SCORES}.safetensors",
        cost=f"{RESULTS}/{layout.SCORES}.json",
    log:
        f"{LOGS}/{layout.SCORES}.log",
    conda:
        ENVIRONMENT
    # On a CPU alone on the machine, since its time is a result (paper, Table 5).
    threads: 2 if torch.cuda.is_available() else workflow.cores
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        blocks=lambda wildcards, input: f"--blocks {input.blocks}" if input.blocks else "",
        criterion=lambda wildcards: STUDY.methods[wildcards.method].criterion or wildcards.method,
        options=lambda wildcards: CRITERIA[wildcards.method].model_dump_json(),
        parts=lambda wildcards: STUDY.methods[wildcards.method].parts,
        # Not on the command line: a raised version re-runs the methods that use the criterion.
        version=lambda wildcards: CRITERIA[wildcards.method].version,
        sequences=sequences_flag,
        until=f"--until-agreement {UNTIL}" if UNTIL else "",
        dtype=STUDY.dtype,
        cell=cell_flag,
    message:
        "score {wildcards.model} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "hfprune score --model {params.model} {params.blocks} --criterion {params.criterion}"
        " --options {params.options:q} --parts {params.parts} {params.sequences} {params.until}"
        " --seed {wildcards.seed} --dtype {params.dtype}"
        " --cell {params.cell} --out {output.scores} > {log} 2>&1"


rule plan:
    input:
        model="resources/models/{model}/asset.json",
        scores=f"{RESULTS}/{layout.SCORES}.safetensors",
    output:
        plan=f"{RESULTS}/{layout.PLAN}.safetensors",
        size=f"{RESULTS}/{layout.PLAN}.json",
    log:
        f"{LOGS}/{layout.PLAN}.log",
    wildcard_constraints:
        method=any_of(CRITERIA),
    conda:
        ENVIRONMENT
    params:
        model=subpath(input.model, parent=True),
        parts=lambda wildcards: STUDY.methods[wildcards.method].parts,
        allocation=allocation_flags,
        cell=cell_flag,
    message:
        "plan {wildcards.model} by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune plan --model {params.model} --scores {input.scores} --ratio {wildcards.ratio}"
        " --parts {params.parts} {params.allocation} --cell {params.cell} --out {output.plan} > {log} 2>&1"


rule adopt:
    input:
        model="resources/models/{model}/asset.json",
        pruned=baseline_output,
    output:
        f"{RESULTS}/{layout.PLAN}.json",
    log:
        f"{LOGS}/{layout.PLAN}.adopt.log",
    wildcard_constraints:
        method=any_of(STUDY.methods.keys() - CRITERIA.keys()),
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        pruned=lambda wildcards, input: pruned_flag(input.pruned),
        cell=cell_flag,
    message:
        "adopt {wildcards.model} pruned by {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune adopt --model {params.model} {params.pruned} --ratio {wildcards.ratio}"
        " --cell {params.cell} --out {output} > {log} 2>&1"
