"""Measuring: a training step call by call, and a cold start."""
