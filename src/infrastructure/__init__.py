"""Layer 1: MLflow, files, configurations, hashes and names; nothing of HPO or training."""
