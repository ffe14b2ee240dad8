"""Running plans over samples: evaluators, uploads, who may use a network, interrupts."""
