"""Reading, fitting, evaluating, predicting, plotting, and the command line."""
