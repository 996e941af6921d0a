"""Audio encoders and taggers of others, a network a file."""
