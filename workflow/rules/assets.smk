# External assets: fetched once, pinned and checked.


rule fetch:
    input:
        # An edited local file is read again.
        local_files,
    output:
        "resources/{kind}/{name}/asset.json",
    log:
        "logs/fetch/{kind}/{name}.log",
    wildcard_constraints:
        kind="models|corpora|tasks|instructions|requests",
    retries: 2
    # The nodes of a cluster often have no network.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=small_mem_mb("fetch"),
        runtime=small_runtime("fetch"),
    params:
        # An edited catalogue entry fetches that asset again, and no other.
        entry=lambda wildcards: getattr(CATALOGUE, wildcards.kind)[wildcards.name].model_dump_json(),
    message:
        "fetch {wildcards.kind}/{wildcards.name}"
    shell:
        "hfprune fetch {wildcards.kind}/{wildcards.name} > {log} 2>&1"
