"""What a step of a network is: plans, the calls in them, what they read and write, legal moves."""
