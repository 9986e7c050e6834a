"""The method: components, causal importance functions, mask sources, losses and the training step.

Imports targets and prompts; never run, ablation, circuits, statistics or evaluation.
"""
