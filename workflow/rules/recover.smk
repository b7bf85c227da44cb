# From a plan (none for the dense model) to an adapter that recovers the losses of pruning.


mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards: COSTS.pack(wildcards.model))


# Once for all recoveries of a model: minutes of one core, during which no GPU waits.
rule pack:
    input:
        model="resources/models/{model}/asset.json",
        instructions=f"resources/instructions/{RECOVERY.instructions}/asset.json" if RECOVERY else [],
    output:
        # Kept: if it were made again for one more recovery, Snakemake would make all of them again.
        f"{RESULTS}/{layout.PAIRS}.safetensors",
    log:
        f"{LOGS}/{layout.PAIRS}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        model=subpath(input.model, parent=True),
        instructions=subpath(input.instructions, parent=True),
        packing=shlex.join(spell(RECOVERY.pairs())) if RECOVERY else "",
    message:
        "pack pairs for {wildcards.model}, seed {wildcards.seed}"
    shell:
        "hfprune pack --model {params.model} --instructions {params.instructions} {params.packing}"
        " --seed {wildcards.seed} --out {output} > {log} 2>&1"


mem_mb, gpu_mem_mb, runtime = limits(lambda wildcards: COSTS.recover(cell_of(wildcards)))


rule recover:
    input:
        model="resources/models/{model}/asset.json",
        plan=plan_input,
        packed=f"{RESULTS}/{layout.PAIRS}.safetensors",
        dtype=DTYPE_FILE,
    output:
        adapter=f"{RESULTS}/{layout.RECOVERY}/{ADAPTER}",
        config=f"{RESULTS}/{layout.RECOVERY}/{ADAPTER_CONFIG}",
        result=f"{RESULTS}/{layout.RECOVERY}/{RECOVERED}",
    log:
        f"{LOGS}/{layout.RECOVERY}.log",
    wildcard_constraints:
        recovery="lora",
    # It resumes: one that takes longer than any job may is made in several. The machine that submits counts.
    retries: 50 if SUBMITS else None
    conda:
        ENVIRONMENT
    threads: cores if CLUSTER else 1
    resources:
        # Snakemake lowers it to what there is.
        gpu=lambda wildcards: gpu() * RECOVERY.gpus,
        mem_mb=mem_mb,
        gpu_mem_mb=gpu_mem_mb,
        runtime=runtime,
    params:
        model=subpath(input.model, parent=True),
        plan=plan_flag,
        options=RECOVERY.lora().model_dump_json() if RECOVERY else "",
        batch_tokens=(f"--batch-tokens {RECOVERY.batch_tokens}" if RECOVERY and RECOVERY.batch_tokens else ""),
        dtype=dtype_of,
        cell=cell_flag,
        out=subpath(output.adapter, parent=True),
    message:
        "recover {wildcards.model}, {wildcards.method} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "hfprune recover --model {params.model} {params.plan} --packed {input.packed}"
        " --options {params.options:q} {params.batch_tokens} --seed {wildcards.seed} --dtype {params.dtype}"
        " --processes {resources.gpu} --cell {params.cell} --out {params.out} > {log} 2>&1"
