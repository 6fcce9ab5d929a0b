"""The `slipway` command: a client of a Slipway portal's REST API."""
