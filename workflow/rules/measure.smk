# Measurements on a cell: the dense model with the cell's plan and adapter applied in memory.


rule evaluate:
    input:
        model="resources/models/{model}/asset.json",
        plan=plan_input,
        adapter=adapter_input,
        tasks=expand("resources/tasks/{task}/asset.json", task=TASKS),
    output:
        # Not removed before the job, which keeps what is finished: a new task is evaluated alone.
        results=update(
            expand(f"{RESULTS}/{layout.CELL}/zeroshot/{{task}}.json", task=TASKS, allow_missing=True)
        ),
        per_item=update(
            expand(f"{RESULTS}/{layout.CELL}/zeroshot/{{task}}.parquet", task=TASKS, allow_missing=True)
        ),
    log:
        f"{LOGS}/{layout.CELL}/zeroshot.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        plan=plan_flag,
        adapter=adapter_flag,
        tasks=[f"resources/tasks/{task}" for task in TASKS],
        limit=f"--limit {MEASURES.zeroshot.limit}" if TASKS and MEASURES.zeroshot.limit else "",
        batch_tokens=(
            f"--batch-tokens {MEASURES.zeroshot.batch_tokens}"
            if TASKS and MEASURES.zeroshot.batch_tokens
            else ""
        ),
        bos="--add-bos" if TASKS and MEASURES.zeroshot.add_bos else "--no-add-bos",
        dtype=STUDY.dtype,
        cell=cell_flag,
        out=lambda wildcards: f"{RESULTS}/{layout.CELL}/zeroshot".format(**wildcards),
    message:
        "evaluate {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed},"
        " recovery {wildcards.recovery}"
    shell:
        "hfprune evaluate --model {params.model} {params.plan} {params.adapter} --tasks {params.tasks}"
        " {params.limit} {params.batch_tokens} {params.bos} --dtype {params.dtype} --cell {params.cell}"
        " --out {params.out} > {log} 2>&1"


rule fidelity:
    input:
        model="resources/models/{model}/asset.json",
        plan=plan_input,
        adapter=adapter_input,
        corpus=f"resources/corpora/{MEASURES.fidelity.corpus}/asset.json" if MEASURES.fidelity else [],
    output:
        result=f"{RESULTS}/{layout.CELL}/fidelity.json",
        per_item=f"{RESULTS}/{layout.CELL}/fidelity.parquet",
    log:
        f"{LOGS}/{layout.CELL}/fidelity.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        plan=plan_flag,
        adapter=adapter_flag,
        corpus=subpath(input.corpus, parent=True),
        blocks=MEASURES.fidelity,
        dtype=STUDY.dtype,
        cell=cell_flag,
    message:
        "fidelity of {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed},"
        " recovery {wildcards.recovery}"
    shell:
        "hfprune fidelity --model {params.model} {params.plan} {params.adapter} --corpus {params.corpus}"
        " --sequences {params.blocks.sequences} --length {params.blocks.length} --sampling {params.blocks.sampling}"
        " --top-k {params.blocks.top_k} --dtype {params.dtype} --cell {params.cell}"
        " --out {output.result} > {log} 2>&1"


rule perplexity:
    input:
        model="resources/models/{model}/asset.json",
        plan=plan_input,
        adapter=adapter_input,
        corpus=f"resources/corpora/{MEASURES.perplexity.corpus}/asset.json" if MEASURES.perplexity else [],
    output:
        result=f"{RESULTS}/{layout.CELL}/perplexity.json",
        per_item=f"{RESULTS}/{layout.CELL}/perplexity.parquet",
    log:
        f"{LOGS}/{layout.CELL}/perplexity.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        plan=plan_flag,
        adapter=adapter_flag,
        corpus=subpath(input.corpus, parent=True),
        blocks=MEASURES.perplexity,
        dtype=STUDY.dtype,
        cell=cell_flag,
    message:
        "perplexity of {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed},"
        " recovery {wildcards.recovery}"
    shell:
        "hfprune perplexity --model {params.model} {params.plan} {params.adapter} --corpus {params.corpus}"
        " --sequences {params.blocks.sequences} --length {params.blocks.length} --sampling {params.blocks.sampling}"
        " --dtype {params.dtype} --cell {params.cell} --out {output.result} > {log} 2>&1"


rule latency:
    input:
        model="resources/models/{model}/asset.json",
        plan=plan_input,
    output:
        result=f"{RESULTS}/{layout.CELL}/latency.json",
        per_item=f"{RESULTS}/{layout.CELL}/latency.parquet",
    log:
        f"{LOGS}/{layout.CELL}/latency.log",
    conda:
        ENVIRONMENT
    # On a CPU alone on the machine, since its time is the result (paper, Table 4).
    threads: 2 if torch.cuda.is_available() else workflow.cores
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        plan=plan_flag,
        workload=MEASURES.latency,
        dtype=STUDY.dtype,
        cell=cell_flag,
    message:
        "latency of {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune latency --model {params.model} {params.plan}"
        " --prompt-tokens {params.workload.prompt_tokens} --batch {params.workload.batch}"
        " --new-tokens {params.workload.new_tokens} --repeats {params.workload.repeats}"
        " --dtype {params.dtype} --cell {params.cell} --out {output.result} > {log} 2>&1"


rule distributions:
    input:
        model="resources/models/{model}/asset.json",
        blocks=expand(CALIBRATION_BLOCKS, seed=STUDY.seeds[0], allow_missing=True),
    output:
        f"{RESULTS}/{layout.DISTRIBUTIONS}.parquet",
    log:
        f"{LOGS}/{layout.DISTRIBUTIONS}.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        dtype=STUDY.dtype,
    message:
        "next-token distributions of {wildcards.model}"
    shell:
        "hfprune distributions --model {params.model} --blocks {input.blocks} --dtype {params.dtype}"
        " --out {output} > {log} 2>&1"


rule ablate:
    input:
        model="resources/models/{model}/asset.json",
        corpus=f"resources/corpora/{MEASURES.ablation.corpus}/asset.json" if MEASURES.ablation else [],
    output:
        result=f"{RESULTS}/{layout.CELL}/ablation.json",
        per_item=f"{RESULTS}/{layout.CELL}/ablation.parquet",
    log:
        f"{LOGS}/{layout.CELL}/ablation.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
        corpus=subpath(input.corpus, parent=True),
        blocks=MEASURES.ablation,
        cell=cell_flag,
    message:
        "ablate single neurons of {wildcards.model}"
    shell:
        "hfprune ablate --model {params.model} --corpus {params.corpus} --sequences {params.blocks.sequences}"
        " --length {params.blocks.length} --sampling {params.blocks.sampling} --neurons-per-layer {params.blocks.neurons_per_layer}"
        " --cell {params.cell} --out {output.result} > {log} 2>&1"
