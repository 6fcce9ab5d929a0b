"""`python -m slipway_cli` is `slipway`."""

from .main import main

if __name__ == "__main__":
    main()
