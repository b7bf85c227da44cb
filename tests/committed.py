"""The studies whose tables and figures git holds, and those whose outcomes of items it holds, too."""

WITH_ITEMS = [
    "sensitivity",
    "methods",
    "draws",
    "domains",
    "families",
    "recipe",
    "recipe-confirm",
    "recovery",
    "recovery-short",
    "recovery-30",
    "recovery-attention",
    "recovery-qwen",
    "recovery-others",
    "headline",
    "untuned",
    "outcomes",
    "outcomes-qwen",
]
COMMITTED = ["demo", *WITH_ITEMS]
