"""The commands, by noun. Each parses, calls the API, and shows the answer."""
