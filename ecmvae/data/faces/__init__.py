"""Drawn faces whose every factor is known: stand-ins for CelebA that need no download.

The words for their looks are those of the lectures' table of faces; the drawings are our own.
"""
