"""A whole run, from a config to a stored artefact: training with checkpoints, statistics, evidence, storing.

Imports every room but comparison.
"""
