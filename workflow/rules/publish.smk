# From results to publication: tables of values and items, verdicts, the paper's tables, figures and the page.
from shlex import quote

from hfprune.jobs import collected
from hfprune.report.published import published

PUBLISHED = published(NAME, STUDY, collected(files(), jobs().values()))
PARTIAL = f"{RESULTS}/partial"
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


use rule collect as claims with:
    input:
        PUBLISHED.tidy,
        PAPER,
    output:
        PUBLISHED.verdicts,
    log:
        f"{LOGS}/claims.log",
    params:
        command="claims --claims paper/claims.yaml",


use rule collect as compare with:
    input:
        PUBLISHED.tidy,
    output:
        PUBLISHED.compared,
    log:
        f"{LOGS}/comparison.log",
    params:
        command="compare",


use rule collect as tables with:
    input:
        PUBLISHED.tidy,
        PUBLISHED.verdicts,
        PUBLISHED.compared,
        PAPER,
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


# From the finished results, at any time. In its own folder, so that it never replaces the complete output.
rule partial:
    input:
        study=CHOSEN.path,
    log:
        f"{LOGS}/partial.log",
    conda:
        ENVIRONMENT
    shell:
        f"(hfprune collect --study {{input.study:q}} --results {RESULTS} --partial --out {{PARTIAL}}"
        " && hfprune claims --results {PARTIAL}"
        " && hfprune compare --results {PARTIAL}"
        " && hfprune tables --results {PARTIAL}"
        " && hfprune page --results {PARTIAL} --out {PARTIAL}/report.html"
        " && hfprune figures --results {PARTIAL} --out {PARTIAL}/figures) > {log} 2>&1"


use rule collect as check with:
    input:
        PUBLISHED.tidy,
        PUBLISHED.verdicts,
    output:
        f"{RESULTS}/check.md",
    log:
        f"{LOGS}/check.log",
    params:
        command=f"check --out {RESULTS}/check.md",
        held=os.popen(f"git rev-parse HEAD:{RESULTS} 2> /dev/null").read(),


use rule collect as page with:
    input:
        PUBLISHED.all(),
        PAPER,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/page.log",
    params:
        command=f"page --out {RESULTS}/report.html",
