"""Classes that are found by being there: one file a criterion, measure, table or figure."""
