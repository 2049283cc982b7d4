"""Kits: what installs an agent on one kind of board, written from templates."""

from devices.kits.kit import KitFolderError, write_kit

__all__ = ["KitFolderError", "write_kit"]
