"""Search for the settings of a recipe: ``python -m fastconv.search``.

The searching is Optuna's: it draws the points, keeps the trials in a data base, and prunes. What is
here says what a trial is, trains many of them side by side in processes, and shows what came of it.
"""
