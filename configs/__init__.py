"""The YAML files that name and size every component."""
