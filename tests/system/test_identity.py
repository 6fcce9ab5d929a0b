"""Clones of a Debian, named by the listener in them and by its agent alone: nothing of one is the other's.

Two templates boot at the same time, once for all tests: on two emulated processors 4 minutes where others use them too.
"""

import contextlib
import itertools
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.live import Api, Live
from tests.system.test_debian import image  # noqa: F401 - a fixture
from tests.system.test_pool import said

pytestmark = pytest.mark.timeout(1800)  # builds the image where it is not there yet

BOOT_SECONDS = 1200
CLOCK_SECONDS = 5
# the listener's other half is what images without it have
READY = {"listener": "", "agent": "#!/bin/sh\nsystemctl stop slipway-identity.service\n"}
CLONES = 2
WHO_AM_I = """
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo
python3 -c 'import os; print(os.getrandom(32).hex())'
hostname
cat /etc/machine-id /proc/sys/kernel/random/boot_id /sys/class/net/e*/address
sudo cat /sys/class/dmi/id/product_uuid
ip -4 -o addr show scope global | awk '{print $4}'
date +%s
echo $(ls /etc/ssh | grep ssh_host)
awk '{print $2}' /etc/ssh/ssh_host_*_key.pub
"""
FIELDS = (
    "urandom", "getrandom", "hostname", "machine_id", "boot_id", "mac", "uuid", "address", "clock", "key_files",
    "host_key",
)  # fmt: skip
SAME = {"key_files", "clock"}


@pytest.fixture(scope="module")
def templates(live: Live, image: str) -> Iterator[dict[str, dict[str, Any]]]:  # noqa: F811 - the fixture
    with live.api("admin") as admin, contextlib.ExitStack() as undo:
        made, operations = {}, []
        for kind, script in READY.items():
            body = {"name": f"who-{kind}-{secrets.token_hex(3)}", "image": image, "flavor": "small"}
            made[kind] = admin.call("POST", "templates", {**body, "ready_script": script}, status=201)
            undo.callback(admin.http.delete, f"templates/{made[kind]['id']}")
            operations += admin.call("POST", f"templates/{made[kind]['id']}/prepare", status=202)["operations"]
        ended = [admin.finished(operation, BOOT_SECONDS) for operation in operations]
        assert [operation["error"] for operation in ended] == [None, None]
        yield made


def told(live: Live, template: dict[str, Any]) -> dict[str, str]:
    """What a new clone says of itself, the first time that anybody asks it."""
    with live.api("alice") as alice:
        name = f"who-{secrets.token_hex(3)}"
        body = {"template": template["id"], "project": "harbor", "name": name}
        answer = alice.call("POST", "sandboxes", body, status=202)
        try:
            operation = alice.finished(answer["operation"])
            assert (operation["kind"], operation["error"]) == ("clone", None)
            box = alice.call("GET", f"sandboxes/{answer['sandbox']['id']}")
            asked = time.time()
            lines = said(alice, box, WHO_AM_I).splitlines()
            assert len(lines) == len(FIELDS), lines  # one host key, and no other
            found = dict(zip(FIELDS, lines, strict=True))
            assert asked - CLOCK_SECONDS <= int(found["clock"]) <= time.time() + CLOCK_SECONDS
            assert (found["hostname"], found["address"].split("/")[0]) == (name, box["ip_addresses"][0])
            assert found["uuid"] == box["vm"]["domain_uuid"]
            assert found["machine_id"] == found["uuid"].replace("-", "")
            return found
        finally:
            deleted = alice.http.delete(f"sandboxes/{answer['sandbox']['id']}").json()
            alice.finished(deleted["operation"])


@pytest.mark.parametrize("kind", READY)
def test_clones_have_nothing_in_common(live: Live, alice: Api, templates, kind: str) -> None:
    with ThreadPoolExecutor(CLONES) as threads:
        clones = list(threads.map(lambda _number: told(live, templates[kind]), range(CLONES)))
    for one, other in itertools.combinations(clones, 2):
        assert {field for field in FIELDS if one[field] == other[field]} <= SAME
    for clone in clones:
        assert len(clone["urandom"]) == len(clone["getrandom"]) == 64
        assert clone["urandom"] != clone["getrandom"]
        assert clone["key_files"].split() == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]
