# From results to publication: tables of values and items, verdicts, the paper's tables, figures and the page.
from shlex import quote

from hfprune.stages.jobs import collected
from hfprune.report.publications import publications

PUBLISHED = publications(NAME, STUDY, collected(files(), jobs().values()))
PAPER = sorted(map(str, Path("paper").glob("**/*.*")))


rule collect:
    input:
        study=CHOSEN.path,
        measured=PUBLISHED.measured,
        cuts=PUBLISHED.cuts,
        # No input of the scores, which serve every ratio; of priority, so that one out of reach fails before them.
        budgets=[str(job.out) for job in jobs_of("budget")],
    output:
        PUBLISHED.tidy,
    log:
        f"{LOGS}/collect.log",
    conda:
        ENVIRONMENT
    params:
        command=f"collect --study {quote(str(CHOSEN.path))}",
    message:
        f"{{rule}} of {RESULTS}"
    shell:
        f"hfprune {{params.command}} --results {RESULTS} > {{log}} 2>&1"


use rule collect as effects with:
    input:
        tidy=PUBLISHED.tidy,
        paper=PAPER,
    output:
        PUBLISHED.analysed,
    log:
        f"{LOGS}/effects.log",
    params:
        command="effects --claims paper/claims.yaml",


use rule collect as tables with:
    input:
        tidy=PUBLISHED.tidy,
        analysed=PUBLISHED.analysed,
        paper=PAPER,
    output:
        PUBLISHED.forms("tables"),
    log:
        f"{LOGS}/tables.log",
    params:
        command="tables",


use rule tables as figures with:
    output:
        PUBLISHED.forms("figures"),
    log:
        f"{LOGS}/figures.log",
    params:
        command=f"figures --out {FIGURES} --only {' '.join(PUBLISHED.figures)} --complete",


# From the finished results, at any time, in a folder of its own.
rule partial:
    input:
        study=CHOSEN.path,
    log:
        f"{LOGS}/partial.log",
    conda:
        ENVIRONMENT
    params:
        out=f"{RESULTS}/partial",
    message:
        "tables, figures and page of what is finished, in {params.out}"
    shell:
        f"(hfprune collect --study {{input.study:q}} --results {RESULTS} --partial --out {{params.out}}"
        " && hfprune effects --results {params.out}"
        " && hfprune tables --results {params.out}"
        " && hfprune page --results {params.out} --out {params.out}/report.html"
        " && hfprune figures --results {params.out} --out {params.out}/figures) > {log} 2>&1"


use rule collect as check with:
    input:
        tidy=PUBLISHED.tidy,
        analysed=PUBLISHED.analysed,
        tables=PUBLISHED.forms("tables"),
        paper=PAPER,
    output:
        f"{RESULTS}/check.md",
    log:
        f"{LOGS}/check.log",
    params:
        command=f"check --out {RESULTS}/check.md",
        held=os.popen(f"git rev-parse HEAD:{RESULTS} 2> /dev/null").read(),


use rule collect as page with:
    input:
        published=PUBLISHED.all(),
        checked=f"{RESULTS}/check.md",
        paper=PAPER,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/page.log",
    params:
        command=f"page --out {RESULTS}/report.html",
