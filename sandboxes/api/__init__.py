"""The REST API of templates, sandboxes and runs."""
