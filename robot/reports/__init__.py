"""Statistics, pictures and pages of what was measured."""
