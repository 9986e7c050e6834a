"""Statistics of every component over a corpus: what its page shows (SPEC 23).

config.py      what a harvest reads and how much it keeps
text.py        windows of tokens, streamed from prompts, files or generated sequences
counts.py      what is counted in one pass, in bounded memory
directions.py  which components point alike, and what they read and write
effects.py     what suppressing one component alone does to a sample of windows
run.py         the whole harvest, with checkpoints
store.py       the result on disk, in columns (imports no torch)
"""
