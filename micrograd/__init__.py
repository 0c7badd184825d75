"""Weeks 0 to 2: gradients of scalars, a net made of them, and the picture of what it learned."""
