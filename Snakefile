# The rules are in `workflow/`, where catalogues of workflows look for them; what is included does not set the default target.
include: "workflow/Snakefile"


workflow.default_target = "all"
