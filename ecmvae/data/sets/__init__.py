"""Data sets as records: what each is, where its files lie, its licence and how to obtain it; one reader for all."""
