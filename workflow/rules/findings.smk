# The pages of findings, from the studies whose tables git holds: `snakemake findings`. Of the chosen study it takes what is there.
FINDINGS_READ = sorted(
    str(file)
    for kind in ("*.csv", "*.parquet", "study.yaml")
    for file in Path("results").glob(f"*/{kind}")
    if not file.is_relative_to(RESULTS)
)
FINDINGS_TEXTS = sorted(Path("findings").glob("*.md"))
FINDINGS_DRAWN = [
    f"docs/findings/{name}.svg"
    for text in FINDINGS_TEXTS
    for name in re.findall(r"^{{figure ([\w-]+)}}", text.read_text(), re.MULTILINE)
]


rule findings:
    input:
        texts=sorted(map(str, Path("findings").glob("*.*"))),
        tables=FINDINGS_READ,
        paper=PAPER,
        catalogue="config/assets.yaml",
        studies=sorted(map(str, Path("config/studies").glob("*.yaml"))),
    output:
        # Kept where a sentence fails.
        pages=update([f"docs/{text.name}" for text in FINDINGS_TEXTS]),
        listing=update("docs/studies.md"),
        figures=update(FINDINGS_DRAWN),
    log:
        "logs/findings.log",
    conda:
        ENVIRONMENT
    message:
        "{rule}: {output.pages}"
    shell:
        "python -m findings --out docs 2> {log} || {{ cat {log} >&2; exit 1; }}"
