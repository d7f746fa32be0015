"""Find what is wrong with a store, and mend what can be mended."""
