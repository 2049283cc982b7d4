"""The search and what follows from it: trials on workers, what may be released, the last fit, its proof."""
