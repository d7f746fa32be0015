"""The arm's server and its safety governor."""
