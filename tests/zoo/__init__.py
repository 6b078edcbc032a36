"""Architectures that nobody here wrote for firstlight, and what is true of them."""
