"""Sandboxes against what they replace and against the least that a script could do, side by side in one run.

    ./dev bench sandbox [--image debian-12] [--rounds 20] [--many 40]

Runs against the portal of `./dev up -d`, with templates of its own that it makes and retires: one with a warm pool, one
without. Rounds take turns, so that what else the machine does falls on all alike. Cold boots are plain libvirt domains
of the same image and size, up to the guest agent's first answer; twenty of debian-12 take a quarter of an hour.
"""

import argparse
import secrets
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import libvirt

from tests.live import Api, Live, wait_for

from ._bare import Bare
from ._bare_clone import BareCloner, Clone, Wire
from ._bare_qemu import BareQemu
from ._guest import first_word
from ._live import running_portal
from ._processes import carers, cpu_seconds_each, pid_of, pss_mib
from ._sandbox_report import CLAIMS, TOGETHER, Times, last, report

PROJECT = "harbor"
FIRST_COMMAND = "echo ready"
ONE_CLONE_SECONDS = 1.5  # most are ready by then; others are asked for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="debian-12")
    parser.add_argument("--flavor", default="small")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--boots", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--many", type=int, default=40)
    parser.add_argument("--settle", type=float, default=10, help="seconds before something idle is measured")
    asked = parser.parse_args()
    live = running_portal()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("qemu:///system")
    with live.api("alice") as alice, live.api("admin") as admin:
        unlimited(alice, admin)
        with Bench(live, alice, admin, connection, (asked.image, asked.flavor)) as bench:
            bench.settle = asked.settle
            return bench.run(asked.rounds, asked.boots, asked.at_once, asked.many)


def unlimited(alice: Api, admin: Api) -> None:
    """Lift the quota of the project that it all happens in: many sandboxes at once are what is measured."""
    [project] = [p for p in alice.call("GET", "me")["projects"] if p["name"] == PROJECT]
    quota = admin.call("GET", f"projects/{project['id']}/quota")
    admin.call("PUT", f"projects/{project['id']}/quota", {"limits": dict.fromkeys(quota["limits"])})


class Bench:
    def __init__(
        self, live: Live, api: Api, admin: Api, connection: libvirt.virConnect, recipe: tuple[str, str]
    ) -> None:
        self.live, self.api, self.admin, self.connection = live, api, admin, connection
        self.image, self.flavor = recipe
        self.settle = 10.0  # seconds
        self.times: Times = defaultdict(list)

    def __enter__(self) -> "Bench":
        mark = secrets.token_hex(3)
        self.fresh = self._template(f"bench-{mark}", 0)
        self.warm = self._template(f"bench-{mark}-warm", 1)
        first = self.sandbox(self.fresh)
        model = self.connection.lookupByUUIDString(first["vm"]["domain_uuid"])
        text = model.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        kept = model.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        facts = self._shell(
            "import ipaddress, json; from sandboxes.models import Sandbox; from vms.models import Nic;"
            f"s = Sandbox.objects.select_related('build').get(vm='{first['id']}');"
            f"n = Nic.objects.select_related('network').get(vm='{first['id']}').network;"
            "net = ipaddress.ip_network(n.subnet);"
            "print(json.dumps([s.build.folder, str(net[1]), net.prefixlen, int(net[-2])]))"
        )
        folder, gateway, prefix, last = facts
        wire = Wire(gateway, prefix, last)
        self.cloner = BareCloner(self.connection, text, kept, self.live.data / folder, wire)
        self.model = first["id"]  # stays: the script's clones have its seed
        return self

    def __exit__(self, *_exception: object) -> None:
        self.cloner.close()
        self.delete(self.model)
        for template in (self.fresh, self.warm):
            self.admin.http.delete(f"templates/{template['id']}")

    # --- the rounds ---------------------------------------------------------------------------------------------
    def run(self, rounds: int, boots: int, at_once: int, many: int) -> int:
        booted_pss = self.cold(boots)
        for number in range(1, rounds + 1):
            self.live.await_spare(self.warm["id"])  # else the making of one falls on the first part of each round
            for part in (self.bare_clone, self.clone, self.clone_and_run, self.warm_claim, self.reset):
                part()
            print(f"round {number}: {last(self.times)}", file=sys.stderr)
        for _time in range(rounds):
            self.times[TOGETHER].append(self.together(at_once))
            print(f"{at_once} at once: {self.times[TOGETHER][-1]:.2f} s", file=sys.stderr)
        crowd = self.crowd(many)
        return report(f"{self.image}, {self.flavor}", self.times, {"booted": booted_pss} | crowd, (at_once, many))

    def cold(self, boots: int) -> float:
        """Boot the same image as plain domains; return the PSS of the last one, idle, in MiB."""
        vm = self.api.create(f"bench-{secrets.token_hex(3)}", self.image, self.flavor, project=PROJECT, seconds=600)
        domain = self.connection.lookupByUUIDString(vm["domain_uuid"])
        text = str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        time.sleep(self.settle)
        pss = pss_mib(pid_of(vm["domain_uuid"]))
        self.api.delete(vm["id"])
        with Bare(self.connection, text) as bare:
            for _boot in range(boots):
                machine, times = bare.create()
                bare.remove(machine)
                self.times["cold boot to agent"].append(sum(times.values()))
        return pss

    def bare_clone(self) -> None:
        """The script: clone, first reply, identity, and the claim of a clone that waits; then QEMU alone."""
        clone = self.cloner.clone()
        try:
            self.cloner.keep(clone)
            self.cloner.wake(clone, "end")  # of all that the identity has, as Slipway does
            self.times["bare: clone to acknowledged"].append(sum(clone.times.values()))
            for name, seconds in clone.times.items():
                self.times[f"phase {name}"].append(seconds)
            clone.domain.suspend()  # else it shares the processors with the QEMU that is measured next
            self.times["bare: QEMU to first reply"].append(BareQemu(clone, self.cloner.frozen).first_reply())
            for name in CLAIMS:
                clone.times.clear()
                self.cloner.wake(clone)
                self.cloner.run(clone, FIRST_COMMAND)
                self.times[name].append(sum(clone.times.values()))
                clone.domain.suspend()
        finally:
            self.cloner.remove(clone)
        again = self.cloner.clone()
        try:
            self.times["libvirt: clone to first reply"].append(sum(again.times.values()) + self._reply(again))
        finally:
            self.cloner.remove(again)

    def _reply(self, clone: Clone) -> float:
        began = time.monotonic()
        clone.domain.resume()
        first_word(clone.socket_of("identity"))
        return time.monotonic() - began

    def clone(self) -> None:
        """POST with an empty pool, to its acknowledged identity: what the script's clone is compared with.

        Nobody asks meanwhile, as nobody asks the script: every question takes 10 ms of the two processors.
        """
        clock = time.time()
        answer = self._post(self.fresh)
        time.sleep(ONE_CLONE_SECONDS)
        ended = self.api.finished(answer["operation"])
        assert ended["status"] == "succeeded", ended
        self.times["Slipway: clone to acknowledged"].append(self._named_at(answer["sandbox"]["id"]) - clock)
        self.delete(answer["sandbox"]["id"])

    def clone_and_run(self) -> None:
        """POST with an empty pool, and at once a command, to the first of its output."""
        began = time.monotonic()
        sandbox, output = self._post_and_run(self.fresh)
        self.times["Slipway: clone to first output"].append(output - began)
        self.delete(sandbox["id"])

    def warm_claim(self) -> None:
        """POST with a clone that waits: to the first output of a command."""
        self.live.await_spare(self.warm["id"])
        began = time.monotonic()
        sandbox, output = self._post_and_run(self.warm)
        assert sandbox["claimed"], "no clone was waiting"
        self.times["Slipway: claim to first output"].append(output - began)
        self.delete(sandbox["id"])

    def reset(self) -> None:
        """Reset with a clone that waits, from the click to the first output of a command."""
        self.live.await_spare(self.warm["id"])
        sandbox = self.sandbox(self.warm)
        self.live.await_spare(self.warm["id"])
        began = time.monotonic()
        self.api.call("POST", f"sandboxes/{sandbox['id']}/reset", status=202)
        self._first_output(sandbox["id"])
        self.times["Slipway: reset to first output"].append(time.monotonic() - began)
        wait_for(lambda: self._get(sandbox["id"])["operation"] is None, 60, "the reset has not ended")
        self.delete(sandbox["id"])

    def together(self, count: int) -> float:
        """Make `count` at once; return the seconds until the last has acknowledged, as `clone` takes them of one."""
        self.live.await_spare(self.warm["id"])
        clock = time.time()
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda _number: self._post(self.fresh), range(count)))
        time.sleep(self.settle)  # instead of asking: eight that ask all the time take a sixth of the processors
        made = [answer["sandbox"] for answer in answers]
        for answer in answers:
            ended = self.api.finished(answer["operation"])
            assert ended["status"] == "succeeded", ended
        wall = max(self._named_at(sandbox["id"]) for sandbox in made) - clock
        for sandbox in made:
            self.delete(sandbox["id"])
        return wall

    def crowd(self, count: int) -> dict[str, float]:
        """Make many, let them idle, and return what one costs."""
        made = [self.sandbox(self.fresh) for _number in range(count)]
        time.sleep(self.settle)
        pids = [pid_of(sandbox["vm"]["domain_uuid"]) for sandbox in made]
        caring = carers(int((self.live.var / "run" / "supervisord.pid").read_text()))
        before, since = [cpu_seconds_each(group) for group in (pids, caring)], time.monotonic()
        time.sleep(3 * self.settle)
        after, seconds = [cpu_seconds_each(group) for group in (pids, caring)], time.monotonic() - since
        busy, care = (
            sum(late[pid] - early[pid] for pid in late if pid in early) / seconds
            for early, late in zip(before, after, strict=True)
        )
        disks = [self._files(sandbox) for sandbox in made]
        found = {
            "pss": statistics.median(map(pss_mib, pids)),
            "core": busy,
            "care": care,
            "disk": statistics.median(disks) / 2**20,
        }
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda sandbox: self.delete(sandbox["id"]), made))
        return found | {"core": busy, "care": care}

    # --- what is asked of the portal -------------------------------------------------------------------------------
    def sandbox(self, template: dict[str, Any]) -> dict[str, Any]:
        """Make one and wait until it has acknowledged its identity."""
        answer = self._post(template)
        operation = self.api.finished(answer["operation"])
        assert operation["status"] == "succeeded", operation
        return self._get(answer["sandbox"]["id"])

    def _post(self, template: dict[str, Any]) -> dict[str, Any]:
        """Ask for one; return the answer, with the sandbox and its operation."""
        body = {"template": template["id"], "project": PROJECT, "lease_minutes": 60}
        answer: dict[str, Any] = self.api.call("POST", "sandboxes", body, status=202)
        return answer

    def delete(self, vm_id: str) -> None:
        answer = self.api.http.delete(f"sandboxes/{vm_id}")
        assert answer.status_code in (202, 404), answer.text
        wait_for(lambda: self.api.http.get(f"sandboxes/{vm_id}").status_code == 404, 60, "it is still there")

    def _post_and_run(self, template: dict[str, Any]) -> tuple[dict[str, Any], float]:
        answer = self._post(template)
        self._first_output(answer["sandbox"]["id"])
        output = time.monotonic()
        assert self.api.finished(answer["operation"])["status"] == "succeeded"
        return self._get(answer["sandbox"]["id"]), output

    def _named_at(self, vm_id: str) -> float:
        """When it acknowledged its identity, by this machine's clock."""
        script = f"from sandboxes.models import Sandbox; print(Sandbox.objects.get(vm='{vm_id}').named_at.timestamp())"
        return float(self._shell(script))

    def _first_output(self, vm_id: str) -> None:
        """Run a command and return when the first byte of its output has come."""
        run = self.api.call("POST", f"sandboxes/{vm_id}/runs", {"command": "echo ready"}, status=201)
        with self.api.http.stream("GET", f"runs/{run['id']}/events") as events:
            for line in events.iter_lines():
                if "cmVhZHk" in line or "ready" in line:
                    return
        raise AssertionError(self.api.call("GET", f"runs/{run['id']}"))

    def _get(self, vm_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.call("GET", f"sandboxes/{vm_id}")
        return found

    def _template(self, name: str, pool_size: int) -> dict[str, Any]:
        body = {"name": name, "image": self.image, "flavor": self.flavor, "pool_size": pool_size}
        made: dict[str, Any] = self.admin.call("POST", "templates", body, status=201)
        answer = self.admin.call("POST", f"templates/{made['id']}/prepare", status=202)
        for operation in answer["operations"]:
            ended = self.admin.finished(operation, 900)
            assert ended["status"] == "succeeded", ended
        return made

    def _files(self, sandbox: dict[str, Any]) -> int:
        domain = self.connection.lookupByUUIDString(sandbox["vm"]["domain_uuid"])
        with_own = [source for source in _sources(domain.XMLDesc(0)) if self.live.data / "pool" in source.parents]
        return sum(source.stat().st_blocks * 512 for source in with_own)

    def _shell(self, script: str) -> Any:
        import json

        return json.loads(self.live.manage("shell", "--no-imports", "-c", script).stdout.splitlines()[-1])


def _sources(xml: str) -> Iterator[Path]:
    from lxml import etree

    for source in etree.fromstring(xml.encode()).iterfind("devices/disk/source"):
        yield Path(source.get("file", ""))


if __name__ == "__main__":
    sys.exit(main())
