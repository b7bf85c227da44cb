# From results to publication: tidy tables, verdicts, the paper's tables, figures and the page.
from snakemake.io import report as reported

from hfprune.report.publication import publication_names, write_captions

FORMS = {"tables": ["csv", "md", "tex"], "figures": ["svg", "pdf", "png"]}
PLACES = {"tables": f"{RESULTS}/tables", "figures": FIGURES}
PAPER = sorted(map(str, Path("paper").glob("**/*.*")))
TIDY = [f"{RESULTS}/{file}" for file in layout.TIDY]
VERDICTS = [f"{RESULTS}/{file}" for file in (layout.CLAIMS, layout.CLAIMS_BY_TASK)]
COMPARED = [f"{RESULTS}/{file}" for file in (layout.COMPARISON, layout.DRAWS, layout.LOST)]
MEASURED = [f"{RESULTS}/{file}" for file in layout.result_files(NAME, STUDY)]
ITEMS = [f"{RESULTS}/{file}" for file in layout.item_files(NAME, STUDY)]
# Snakemake reads captions from files; the publications have them.
CAPTIONS = write_captions(Path(".snakemake/captions").absolute())


def shown(kind):
    """Return the files of all tables or figures for Snakemake's report, each with its caption."""
    return [
        reported(
            f"{PLACES[kind]}/{name}.{FORMS[kind][0]}",
            category=kind.capitalize(),
            labels={kind.removesuffix("s"): name},
            caption=str(CAPTIONS[kind, name]),
        )
        for name in publication_names(kind)
    ]


def others(kind):
    """Return the other forms of all tables or figures."""
    return expand(f"{PLACES[kind]}/{{name}}.{{form}}", name=publication_names(kind), form=FORMS[kind][1:])


def publication():
    """Return every table, verdict and figure of the study, and all results behind them."""
    # Every result by name: a deleted result is made again only if a target asks for it.
    made = [*MEASURED, *ITEMS, *TIDY, *VERDICTS, *COMPARED, *others("tables"), *others("figures")]
    return made + expand(f"{PLACES['tables']}/{{name}}.csv", name=publication_names("tables")) + expand(
        f"{FIGURES}/{{name}}.svg", name=publication_names("figures")
    )


rule collect:
    input:
        study=CHOSEN.path,
        results=MEASURED,
        files=[
            f"{RESULTS}/{file}"
            for files in (layout.score_files, layout.plan_files)
            for file in files(NAME, STUDY)
        ],
        per_item=ITEMS,
    output:
        TIDY,
    log:
        f"{LOGS}/collect.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        f"collect {RESULTS}"
    shell:
        f"hfprune collect --study {{input.study}} --results {RESULTS} > {{log}} 2>&1"


rule claims:
    input:
        study=CHOSEN.path,
        tidy=TIDY,
        per_item=ITEMS,
        claims="paper/claims.yaml",
        paper=PAPER,
    output:
        VERDICTS,
    log:
        f"{LOGS}/claims.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        f"claims on {RESULTS}"
    shell:
        f"hfprune claims --study {{input.study}} --results {RESULTS} --claims {{input.claims}} > {{log}} 2>&1"


rule compare:
    input:
        study=CHOSEN.path,
        tidy=TIDY,
        per_item=ITEMS,
    output:
        COMPARED,
    log:
        f"{LOGS}/comparison.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        f"comparison of the methods of {RESULTS}"
    shell:
        f"hfprune compare --study {{input.study}} --results {RESULTS} > {{log}} 2>&1"


rule tables:
    input:
        TIDY,
        VERDICTS,
        COMPARED,
        PAPER,
    output:
        shown("tables"),
        others("tables"),
    log:
        f"{LOGS}/tables.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        f"tables of {RESULTS}"
    shell:
        f"hfprune tables --results {RESULTS} > {{log}} 2>&1"


rule figures:
    input:
        TIDY,
        VERDICTS,
        COMPARED,
        PAPER,
    output:
        shown("figures"),
        others("figures"),
    log:
        f"{LOGS}/figures.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        f"figures of {RESULTS}"
    shell:
        f"hfprune figures --results {RESULTS} --out {FIGURES} --complete > {{log}} 2>&1"


# From the finished results, at any time. In its own folder, so that it never replaces the complete output.
rule partial:
    input:
        study=CHOSEN.path,
        paper=PAPER,
    log:
        f"{LOGS}/partial.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        out=f"{RESULTS}/partial",
    message:
        "tables, claims, comparison, figures and page of the finished results, to {params.out}"
    shell:
        f"(hfprune collect --study {{input.study}} --results {RESULTS} --partial --out {{params.out}}"
        f" && hfprune claims --study {{input.study}} --results {RESULTS} --out {{params.out}}"
        f" && hfprune compare --study {{input.study}} --results {RESULTS} --out {{params.out}}"
        " && hfprune tables --results {params.out}"
        " && hfprune page --results {params.out} --out {params.out}/report.html"
        " && hfprune figures --results {params.out} --out {params.out}/figures --complete) > {log} 2>&1"


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
    message:
        f"report of the workflow on {NAME}"
    shell:
        # Snakemake's own report of the run; --nolock, because it runs inside this workflow.
        f"snakemake publication --report {{output}} --nolock --cores 1 --config study={CHOSEN.path} > {{log}} 2>&1"


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
    message:
        f"page of {RESULTS}"
    shell:
        f"hfprune page --results {RESULTS} --out {{output}} > {{log}} 2>&1"
