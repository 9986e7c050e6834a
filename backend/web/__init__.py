"""What surrounds the API: the server process, headers and limits, the built pages, embeds."""
