"""What a model can still do, measured through lm-eval; the offline task set ``core`` ships with the package."""
