"""The arm's clients; they need no server."""
