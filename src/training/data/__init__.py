"""Reading data sets and dividing them into folds."""
