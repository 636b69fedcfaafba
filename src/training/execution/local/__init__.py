"""Final training driven from this machine."""
