"""The authors' published weights: their model, and its conversion to our model folders."""
