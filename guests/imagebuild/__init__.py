"""Builds bootable guest images from Debian packages. Standard library only: it runs before any virtualenv exists."""
