# External assets: fetched once, pinned and checked; again after an edit of a local file, or of the catalogue's entry.
ASSETS = Jobs("resources/{kind}/{name}/asset.json")


rule fetch:
    input:
        **ASSETS.inputs("entries"),
    output:
        ASSETS.pattern,
    log:
        "logs/fetch/{kind}/{name}.log",
    wildcard_constraints:
        kind="models|corpora|tasks|instructions|requests",
    retries: 2
    conda:
        ENVIRONMENT
    resources:
        **ASSETS.limits,
    params:
        **ASSETS.params,
    message:
        "{rule} {params.about}"
    shell:
        "hfprune {params.stage} --settings {params.settings:q} > {log} 2>&1"
