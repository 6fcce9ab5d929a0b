"""Sandboxes and templates as pages show them: words, figures, buttons."""
