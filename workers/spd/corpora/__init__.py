"""Running text: the texts of a dataset or of a package, taken once and kept, and windows drawn from them.

Imports config and artifact; it knows no model, only how a tokenizer encodes.
"""
