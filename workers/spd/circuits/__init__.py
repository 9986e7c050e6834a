"""The circuit of one prompt: which component in use feeds which, and the output (docs/circuit.md).

Imports targets, method and ablation.
"""
