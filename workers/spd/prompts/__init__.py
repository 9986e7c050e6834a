"""What a run reads: prompts, facts, induction sequences, corpora and datasets, as padded batches.

Imports targets, config and artifact; nothing here trains.
"""
