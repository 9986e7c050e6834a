"""What a run reads: prompts, facts, induction sequences and windows of a corpus, as padded batches.

Imports targets, corpora, config and artifact; nothing here trains.
"""
