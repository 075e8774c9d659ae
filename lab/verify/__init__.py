"""How a statement is proved: claims, experiments, the prober, verdicts."""
