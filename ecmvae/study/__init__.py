"""Variants of a configuration, each with several seeds: trained one after the other, scored, and compared."""
