"""The registry's pages and its REST API: a Flask application factory with a blueprint per noun."""

from registry.web.app import create_app

__all__ = ["create_app"]
