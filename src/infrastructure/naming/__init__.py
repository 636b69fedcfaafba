"""Identity: key documents, fingerprints, tag keys and run names."""
