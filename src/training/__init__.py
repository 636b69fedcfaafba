"""Layers 2 and 3: what studies, trials and trainings are as runs, and how they are carried out."""
