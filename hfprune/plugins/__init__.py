"""Classes that are discovered by their files: one file per criterion, measure, table or figure."""
