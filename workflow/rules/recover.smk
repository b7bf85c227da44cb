# From a plan (none for the dense model) to an adapter that recovers the losses of pruning.


mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards: COSTS.recover(cell_of(wildcards)))


rule recover:
    input:
        model="resources/models/{model}/asset.json",
        plan=plan_input,
        instructions=f"resources/instructions/{RECOVERY.instructions}/asset.json" if RECOVERY else [],
    output:
        adapter=f"{RESULTS}/{layout.RECOVERY}/{layout.ADAPTER}",
        config=f"{RESULTS}/{layout.RECOVERY}/{layout.ADAPTER_CONFIG}",
        result=f"{RESULTS}/{layout.RECOVERY}/{layout.RECOVERED}",
    log:
        f"{LOGS}/{layout.RECOVERY}.log",
    wildcard_constraints:
        recovery="lora",
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
        mem_mb=mem_mb,
        gpu_mem_mb=gpu_mem_mb,
        runtime=runtime,
    params:
        model=subpath(input.model, parent=True),
        plan=plan_flag,
        instructions=subpath(input.instructions, parent=True),
        options=RECOVERY.lora().model_dump_json() if RECOVERY else "",
        batch_tokens=(f"--batch-tokens {RECOVERY.batch_tokens}" if RECOVERY and RECOVERY.batch_tokens else ""),
        dtype=STUDY.dtype,
        cell=cell_flag,
        out=subpath(output.adapter, parent=True),
    message:
        "recover {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune recover --model {params.model} {params.plan} --instructions {params.instructions}"
        " --options {params.options:q} {params.batch_tokens} --seed {wildcards.seed} --dtype {params.dtype}"
        " --cell {params.cell} --out {params.out} > {log} 2>&1"
