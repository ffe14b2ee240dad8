"""Recipes as they ship, the sections that a recipe has, and reading them from TOML."""
