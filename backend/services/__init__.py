"""Rules and queries. Nothing here knows a route, and only `ablation/` knows the engine."""
