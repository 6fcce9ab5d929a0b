"""The pages: thin doors. Each view authenticates, parses, calls one function below, and renders."""
