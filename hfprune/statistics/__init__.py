"""Arrays in, numbers out: paired outcomes, their mean with its interval, and corrections of p-values."""
