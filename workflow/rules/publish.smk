# From results to publication: tidy tables, the paper's tables, figures and the page.


rule collect:
    input:
        study=STUDY_FILE,
        results=[f"{RESULTS}/{file}" for file in layout.result_files(NAME, STUDY)],
        scores=[f"{RESULTS}/{file}" for file in layout.score_files(NAME, STUDY)],
        plans=[f"{RESULTS}/{file}" for file in layout.plan_files(NAME, STUDY)],
        distributions=[f"{RESULTS}/{file}" for file in layout.distribution_files(STUDY)],
    output:
        tidy=expand(f"{RESULTS}/{{file}}", file=layout.TIDY),
    log:
        f"{LOGS}/collect.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=lambda wildcards, output: Path(output.tidy[0]).parent,
    message:
        "collect {params.results}"
    shell:
        "hfprune collect --study {input.study} --results {params.results} > {log} 2>&1"


rule tables:
    input:
        tidy=expand(f"{RESULTS}/{{file}}", file=layout.TIDY),
        paper=PAPER,
    output:
        report(
            expand(f"{RESULTS}/tables/{{name}}.csv", name=layout.TABLES),
            category="Tables",
            caption="../report/tables.rst",
        ),
        expand(f"{RESULTS}/tables/{{name}}.{{suffix}}", name=layout.TABLES, suffix=["md", "tex"]),
    log:
        f"{LOGS}/tables.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=lambda wildcards, input: Path(input.tidy[0]).parent,
    message:
        "tables of {params.results}"
    shell:
        "hfprune tables --results {params.results} > {log} 2>&1"


rule claims:
    input:
        study=STUDY_FILE,
        tidy=f"{RESULTS}/results.parquet",
        per_item=[f"{RESULTS}/{file}" for file in layout.item_files(NAME, STUDY)],
        claims="paper/claims.yaml",
        paper=PAPER,
    output:
        report(f"{RESULTS}/claims.csv", category="Claims", caption="../report/claims.rst"),
        expand(f"{RESULTS}/{{file}}", file=["claims.md", "claims.tex", "claims_by_task.csv"]),
    log:
        f"{LOGS}/claims.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=subpath(input.tidy, parent=True),
    message:
        "claims on {params.results}"
    shell:
        "hfprune claims --study {input.study} --results {params.results} --claims {input.claims} > {log} 2>&1"


rule compare:
    input:
        study=STUDY_FILE,
        tidy=expand(f"{RESULTS}/{{file}}", file=layout.TIDY),
        per_item=[f"{RESULTS}/{file}" for file in layout.item_files(NAME, STUDY)],
    output:
        report(f"{RESULTS}/comparison.csv", category="Comparison", caption="../report/comparison.rst"),
        report(f"{RESULTS}/draws.csv", category="Comparison", caption="../report/draws.rst"),
        report(f"{RESULTS}/lost.csv", category="Comparison", caption="../report/lost.rst"),
        expand(f"{RESULTS}/{{name}}.{{suffix}}", name=["comparison", "draws", "lost"], suffix=["md", "tex"]),
    log:
        f"{LOGS}/comparison.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=lambda wildcards, input: Path(input.tidy[0]).parent,
    message:
        "comparison of the methods of {params.results}"
    shell:
        "hfprune compare --study {input.study} --results {params.results} > {log} 2>&1"


rule figures:
    input:
        tidy=expand(f"{RESULTS}/{{file}}", file=layout.TIDY),
        claims=f"{RESULTS}/claims.csv",
        comparison=f"{RESULTS}/comparison.csv",
        paper=PAPER,
    output:
        [
            report(
                f"{FIGURES}/{name}.svg",
                category="Figures",
                labels={"figure": name},
                caption=f"../report/figures/{name}.rst",
            )
            for name in layout.FIGURES
        ],
        expand(f"{FIGURES}/{{name}}.{{suffix}}", name=layout.FIGURES, suffix=["pdf", "png"]),
    log:
        f"{LOGS}/figures.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=lambda wildcards, input: Path(input.tidy[0]).parent,
        figures=lambda wildcards, output: Path(output[0]).parent,
    message:
        "figures of {params.results}"
    shell:
        "hfprune figures --results {params.results} --out {params.figures} > {log} 2>&1"


# From the finished results, at any time. In its own folder, so that it never replaces the complete output.
rule partial:
    input:
        study=STUDY_FILE,
        paper=PAPER,
    log:
        f"{LOGS}/partial.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=RESULTS,
        out=f"{RESULTS}/partial",
    message:
        "tables, claims, comparison, figures and page of the finished results, to {params.out}"
    shell:
        "(hfprune collect --study {input.study} --results {params.results} --partial --out {params.out}"
        " && hfprune tables --results {params.out}"
        " && hfprune claims --study {input.study} --results {params.results} --out {params.out}"
        " && hfprune compare --study {input.study} --results {params.results} --out {params.out}"
        " && hfprune page --results {params.out} --out {params.out}/report.html"
        " && hfprune figures --results {params.out} --out {params.out}/figures) > {log} 2>&1"


rule publication:
    input:
        publication(),


rule report:
    input:
        publication(),
    output:
        f"{RESULTS}/workflow.html",
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=NAME,
    message:
        "report of the workflow on {params.study}"
    shell:
        # Snakemake's own report of the run; --nolock, because it runs inside this workflow.
        "snakemake publication --report {output} --nolock --cores 1 --config study={params.study} > {log} 2>&1"


rule page:
    input:
        publication(),
        paper=PAPER,
        # The page links to it.
        workflow=f"{RESULTS}/workflow.html",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/page.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=subpath(output[0], parent=True),
    message:
        "page of {params.results}"
    shell:
        "hfprune page --results {params.results} --out {output} > {log} 2>&1"
