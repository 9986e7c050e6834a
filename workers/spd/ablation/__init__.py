"""The live engine: what a prompt's output becomes when components are suppressed, kept alone or masked otherwise.

Imports targets, prompts and method. The backend reaches it through backend.services.ablation only.
"""
