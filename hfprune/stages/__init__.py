"""The stages of a study: the settings of each, as a pydantic model `Config`, and `run`, which takes them.

A stage has its own file, is the command of that name, and runs by hand or as a job of the workflow.
"""
