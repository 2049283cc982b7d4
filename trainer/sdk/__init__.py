"""The Python side, as `import genba` shows it: verbs, a trained model, estimators, what a notebook sees."""
