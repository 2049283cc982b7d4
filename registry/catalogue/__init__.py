"""The catalogue: everything the registry knows, in one SQLite file with a class per noun."""

from registry.catalogue.catalogue import Catalogue

__all__ = ["Catalogue"]
