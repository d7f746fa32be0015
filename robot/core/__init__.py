"""Nouns, contracts, errors and files: what every other room stands on."""
