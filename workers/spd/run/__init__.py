"""A whole run, from a config to a stored artefact: training with checkpoints, statistics, evidence, storing.

The top room: imports all others, and no other room imports it.
"""
