"""Training, on Lightning: the only package that imports it. Everything here is imported by name, lazily."""
