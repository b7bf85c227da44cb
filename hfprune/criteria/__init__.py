"""One file a criterion; a file in this folder is found by being here (see `hfprune.criterion`)."""
