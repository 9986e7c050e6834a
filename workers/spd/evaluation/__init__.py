"""The figures of a run: evidence under every mask regime, selectivity checks, the fact table, the paper's table.

Imports every other room but run.
"""
