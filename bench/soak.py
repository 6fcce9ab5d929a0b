"""Mixed load with a fault every minute and an audit every half: operations acknowledged, finished, lost, repaired.

On the real parts: web, gateway, worker, node agent, beat, PostgreSQL and Redis as processes, and a libvirtd with real
QEMU in namespaces of its own. With `--fake`, on the fake hypervisor (each call takes 0.1 s) and SQLite.
"""

import argparse
import signal
import sys

from ._soak_fake import on_the_fake
from ._soak_real import on_real_parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--fault-every", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fake", action="store_true", help="the fake hypervisor and SQLite; needs no libvirt")
    parser.add_argument("--postgresql", action="store_true", help="with --fake: PostgreSQL instead of SQLite")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # with all that it started
    opened = on_the_fake(asked.seed, asked.postgresql) if asked.fake else on_real_parts(asked.seed)
    with opened as soak:
        try:
            soak.run(60 * asked.minutes, asked.fault_every)
            soak.finish()
        finally:  # also of a run that broke off: what it saw until then is what it was for
            good = soak.tell()
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
