"""The server: FastAPI over services over the catalogue (README.md has the map)."""
