"""From a plan to instructions: rewritings of the plan, and what its calls become."""
