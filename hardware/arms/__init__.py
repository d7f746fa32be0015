"""Arms: one module a maker, each a small adapter over the maker's own package, imported when it connects."""
