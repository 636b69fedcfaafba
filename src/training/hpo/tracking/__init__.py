"""Layer 2: studies, trials and folds as runs."""
