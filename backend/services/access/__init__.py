"""Who may do what: access tokens and sessions, the trusted proxy, limits per client, and the record of changes."""
