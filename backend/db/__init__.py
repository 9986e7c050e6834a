"""The catalogue: SQLAlchemy tables, the session, migrations, and the index rebuilt from artefacts."""
