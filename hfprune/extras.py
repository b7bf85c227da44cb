"""Packages that only some commands import, and the extra that installs each."""

EXTRAS = {
    "lm_eval": "tasks",
    "peft": "recovery",
    **dict.fromkeys(("matplotlib", "seaborn"), "study"),
}


def missing(error: ModuleNotFoundError) -> str:
    """Return the line about a module that is not installed.

    Raises:
        ModuleNotFoundError: `error` again, if no extra installs the module.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    return f"this needs the package {package}: pip install 'hfprune[{EXTRAS[package]}]'"
