"""Variants of a released model in less precision: asked for, made, compared, offered."""
