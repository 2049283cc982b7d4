"""The model card: what a model does, how well, where it fails, and what it must not be used for.

`figures` computes, `content` says it in words and tables, `page` and `markdown` give it a form.
"""

__all__ = ["content", "figures", "markdown", "page"]
