"""Layout of the results of the analysis: tables, figures and pages."""
