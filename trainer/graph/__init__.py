"""The one graph that is released: featurizer, pieces in their weighted mean, decision, contributions."""
