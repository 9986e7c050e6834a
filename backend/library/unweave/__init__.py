"""Unweave as a library: decompositions of transformer weights, opened, asked and made from Python."""
