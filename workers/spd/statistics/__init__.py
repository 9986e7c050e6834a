"""What each component does, over the run's own prompts (SPEC 18) and over a corpus (SPEC 23).

    prompt_statistics.py  every component over the run's prompts: columns, labels, named groups
    single_effects.py     what suppressing one component alone does to prompts
    corpus_statistics.py  a harvest over a corpus, with checkpoints
    config.py             what a harvest reads and how much it keeps
    text.py               windows of tokens, streamed from prompts, files or generated sequences
    counts.py             what is counted in one pass, in bounded memory
    examples.py           the examples that are shown
    directions.py         which components point alike, and what they read and write
    corpus_effects.py     what suppressing one component alone does to a sample of windows
    tables.py             from counts to the stored columns
    store.py              the result on disk, in columns (imports no torch)

Imports targets, prompts, method and ablation.
"""
