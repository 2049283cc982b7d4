"""Explanation from the graph alone: contributions of rows, counterfactuals, fairness, `genba explain`."""
