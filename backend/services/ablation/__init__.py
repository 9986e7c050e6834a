"""The one door to the ablation engine: engines loaded and handed out, questions checked, answered and cached.

Only `adapter.py` imports workers.spd.ablation, and only when an engine is loaded; nothing here imports torch before.
"""
