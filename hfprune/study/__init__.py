"""The plan of a run: the study, the catalogue of assets, and the paths of files."""
