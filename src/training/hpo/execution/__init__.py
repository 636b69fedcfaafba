"""Layer 3: the order in which things happen."""
