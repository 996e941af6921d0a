"""Scores of a model or of a folder of predictions, and the report that holds them."""
