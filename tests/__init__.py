"""Tests: parity with references, properties, pinned trajectories, the rules of the house."""
