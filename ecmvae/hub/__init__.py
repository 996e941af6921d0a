"""Model folders: on disk, by name, and on the Hugging Face hub."""
