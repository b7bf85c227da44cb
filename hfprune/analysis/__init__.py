"""From result files to the tidy table, and from that alone to averages, tables and figures."""
