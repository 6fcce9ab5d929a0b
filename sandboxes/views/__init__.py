"""Pages of sandboxes and templates: each view parses, calls one service or query, and renders."""
