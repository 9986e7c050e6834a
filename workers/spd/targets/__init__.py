"""Target models: fetched and converted once, loaded frozen, their sites found and run under masks.

Also the tokenizer, the induction model trained here and the oneDNN matrix products. Imports only corpora, config, keys
and artifact of workers.spd.
"""
