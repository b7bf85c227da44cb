"""Pruning of one model in one go: the commands of this suite as steps, and the folder that they fill."""
