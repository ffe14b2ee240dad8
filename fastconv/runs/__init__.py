"""Runs and what they leave: an experiment from a recipe, its folder, and reading it again."""
