"""Print the demo sign-ins. Usage: sign_ins.py DEMO_USERS_JSON (user name -> password)."""

import json
import sys
from pathlib import Path

WHO = {
    "admin": "staff, sets quotas",
    "alice": "owner of the project harbor",
    "bob": "member of harbor",
    "dana": "viewer of harbor",
    "charlie": "a stranger to all of them",
}


def main() -> None:
    """Print one line for each demo user."""
    try:
        users = json.loads(Path(sys.argv[1]).read_text())
    except FileNotFoundError:
        print("  (no demo users)\n")
        return
    width = max(len(password) for password in users.values())
    for name, password in users.items():
        print(f"    {name:<9} {password:<{width}}   {WHO.get(name, '')}")
    print()


if __name__ == "__main__":
    main()
