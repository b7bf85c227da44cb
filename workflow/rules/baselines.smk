# What the rules of external baselines share, and the rule files of those that the study names.
from hfprune.stages.budget import neurons_removed

# Only those of the study: a broken file affects only studies that use it.
BASELINES = sorted({method.baseline for method in STUDY.methods.values() if method.baseline})
# The blocks of a cell's calibration, for baselines that read text.
CALIBRATION_BLOCKS = f"{RESULTS}/{paths.BLOCKS}.safetensors"


def methods_of(baseline):
    """Return the wildcard constraint for a baseline: the methods of the study that name it."""
    return any_of(name for name, method in STUDY.methods.items() if method.baseline == baseline)


def made_by(baseline):
    """Return what the rule of a baseline makes; fail unless it has one output at the contract's path."""
    places = {"checkpoint": f"{RESULTS}/{paths.CHECKPOINT}", "plan": f"{RESULTS}/{paths.PLAN}.safetensors"}
    named = baseline in (found.name for found in workflow.rules)
    output = dict(getattr(rules, baseline).output.items()) if named else {}
    for made, path in places.items():
        if output == {made: path}:
            return made
    raise WorkflowError(
        f"workflow/rules/baselines/{baseline}.smk: must have a rule {baseline!r} with one output, either "
        + " or ".join(f"{made}={path!r}" for made, path in places.items())
    )


for baseline in BASELINES:

    include: f"baselines/{baseline}.smk"
