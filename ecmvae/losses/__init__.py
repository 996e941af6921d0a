"""Losses: pure functions, and one module that weighs and names them."""
