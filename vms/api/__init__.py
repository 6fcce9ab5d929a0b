"""The REST API, one router a noun. Thin doors: parse, call one service or query, show the result."""
