"""Clips and where they come from: video and audio files, AVSBench folders, synthetic and composed data."""
