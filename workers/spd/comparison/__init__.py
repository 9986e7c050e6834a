"""Methods that take a fact out of a model, compared under one protocol (docs/evidence.md).

A method chooses, for a fact and a budget, an edit; every edit is measured on the same questions and the same text.
`stored.py` needs no torch. Imports every other room; no other room imports it.
"""
