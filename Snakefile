# Prune, measure and publish: the whole paper as one workflow. `snakemake --cores all` runs it.
from snakemake.utils import min_version

min_version("9.19")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/jobs.smk"


wildcard_constraints:
    model="[^/]+",
    method="[^/]+",
    ratio=r"[0-9.]+",
    seed=r"\d+",
    step=r"\d+",
    recovery="[^/]+",


include: "workflow/rules/baselines.smk"
include: "workflow/rules/assets.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/recover.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/findings.smk"


# Seconds of a core, not worth a place in a queue, or a download, since nodes of a cluster often have no network.
workflow.localrules(*"fetch method budget plan plan_step collect effects check".split())
workflow.localrules("tables", "figures", "page", "partial", "findings")


# In the main process only: jobs in subprocesses parse this file again.
if workflow.exec_mode == workflow.exec_mode.DEFAULT:
    print(f"study: {NAME} ({CHOSEN.why}; another: --config study=NAME)", file=sys.stderr, flush=True)
    logger.addFilter(announce)


rule all:
    default_target: True
    input:
        PUBLISHED.all(),
        f"{RESULTS}/report.html",
        f"{RESULTS}/check.md",


onsuccess:
    shell(f"cat {RESULTS}/check.md 2> /dev/null || true")
