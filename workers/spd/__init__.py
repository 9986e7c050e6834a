"""Stochastic Parameter Decomposition: the method, its evidence and the live engine (SPEC.md).

The rooms, each of which imports only rooms above it in this list:

    config/ keys.py artifact.py progress.py lru.py     what a run is, its identities, its files
    targets/       target models, their tokenizer and sites, masks at a site
    prompts/       what a run reads
    method/        components, causal importance, losses and the training step
    ablation/      the live engine
    statistics/    what each component does, over the run's prompts and over a corpus
    circuits/      which component feeds which on one prompt
    evaluation/    the figures of a run
    run/           from a config to a stored artefact
    comparison/    every method on the same facts, measured alike

Nothing here knows a web framework, a database, the environment or the command line.
"""
