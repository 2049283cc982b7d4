"""Imported models that take windows, images or state: their samples, graphs, runs and golden vectors."""
