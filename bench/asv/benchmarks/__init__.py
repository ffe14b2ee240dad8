"""What is timed at each commit of the history; CONTRIBUTING.md says how."""
