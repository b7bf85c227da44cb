# External assets: fetched once, pinned and checked.


rule fetch:
    input:
        # An edited local file is read again.
        inputs("fetch"),
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
        **limits("fetch"),
    params:
        settings=settings("fetch"),
        # An edited catalogue entry fetches that asset again, and no other.
        entry=trigger("fetch"),
    message:
        "fetch {wildcards.kind}/{wildcards.name}"
    shell:
        "hfprune fetch --settings {params.settings:q} > {log} 2>&1"
