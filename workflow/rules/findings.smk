# The page of findings, from the studies whose tables git holds: `snakemake findings`. Of the chosen study it takes what is there.


rule findings:
    input:
        texts=sorted(map(str, Path("findings").glob("*"))),
        tables=sorted(str(file) for file in Path("results").glob("*/*.csv") if str(file.parent) != RESULTS),
        paper=PAPER,
    output:
        "docs/findings.md",
    log:
        "logs/findings.log",
    conda:
        ENVIRONMENT
    message:
        "{rule}: {output}"
    shell:
        "hfprune findings --out {output} 2> {log} || {{ cat {log} >&2; exit 1; }}"
