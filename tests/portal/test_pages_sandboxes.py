"""The pages of sandboxes and templates: what each person sees and may press, with and without scripts."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import QuotaLimit
from accounts.refusals import Unavailable
from hypervisor.specs import DomainState
from portal.node_agent import memory
from sandboxes import gateway_runs, services
from sandboxes.models import Run, Sandbox, Template, TemplateBuild
from sandboxes.models.sandbox import warning
from sandboxes.presenting.isolation import report
from tests.portal.lab import make_lab
from tests.portal.pages import SCRIPT, field, said, words
from vms.models import Operation, Sample, VirtualMachine
from vms.presenting.fragments import render
from vms.states import Role


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Return the runs that the gateway was told to begin; there is none here."""
    told = []
    monkeypatch.setattr(gateway_runs, "start", lambda run: told.append(run.pk))
    return told


@pytest.fixture
def lab(world):
    return make_lab(world)


def page(name, *arguments):
    return reverse(f"sandboxes:{name}", args=arguments)


def press(client, template, **typed):
    return client.post(page("new", template.pk), typed)


def failure(client, box):
    """Return the card of what its page says is under way or failed; "" where it says nothing."""
    html = client.get(page("detail", box.vm_id)).content.decode()
    return html.partition('id="operation"')[2].partition("</section>")[0]


# --- the list ---------------------------------------------------------------------------------------------------
def test_without_templates_the_page_says_what_would_be_here(world):
    seen = words(world.browser("alice").get(page("list")))
    assert "No template yet" in seen
    assert "No sandboxes" in seen


def test_one_press_makes_a_sandbox_with_the_templates_defaults(lab):
    lab.prepared()
    alice = lab.world.browser("alice")
    answer = press(alice, lab.template, project="harbor")
    box = Sandbox.objects.get(vm__role=Role.SANDBOX)
    assert answer["Location"] == page("detail", box.vm_id)
    assert (box.network, box.lease_minutes) == (lab.template.network, lab.template.lease_minutes)
    assert said(answer) == [f"{box.vm.name} is yours."]


def test_network_lease_and_name_can_be_chosen(lab):
    lab.prepared()
    chosen = {"network": "none", "lease_minutes": "30", "name": "try-1", "project": "harbor"}
    press(lab.world.browser("bob"), lab.template, **chosen)
    box = Sandbox.objects.get(vm__role=Role.SANDBOX)
    assert (box.vm.name, box.network, box.lease_minutes) == ("try-1", "none", 30)


def test_a_double_press_makes_one_sandbox(lab):
    alice = lab.world.browser("alice")
    key = field(alice.get(page("list")), "request_key")
    first, again = (press(alice, lab.template, request_key=key, project="harbor") for _ in range(2))
    assert first["Location"] == again["Location"]
    assert Sandbox.objects.filter(vm__role=Role.SANDBOX).count() == 1


def test_a_refusal_stands_on_the_page_with_figures(lab):
    QuotaLimit.objects.filter(project=lab.world.harbor, dimension="memory_mib").update(limit=128)
    answer = press(lab.world.browser("alice"), lab.template, project="harbor")
    assert answer.status_code == 409
    seen = words(answer)
    assert "No sandbox was made" in seen
    assert "Memory: harbor may use 128 MiB" in seen
    wrong = press(lab.world.browser("alice"), lab.template, project="harbor", network="moon")
    assert wrong.status_code == 422
    assert "A network is none, isolated or nat." in words(wrong)


def test_the_list_shows_mine_and_nobody_elses(lab):
    lab.sandbox("box-1")
    for name, seen in {"alice": True, "bob": True, "dana": True, "charlie": False}.items():
        assert ("box-1" in words(lab.world.browser(name).get(page("list")))) is seen, name


def test_spares_and_builders_are_on_no_list(lab):
    lab.prepared()
    assert lab.spares()
    for name in ("alice", "admin"):
        seen = words(lab.world.browser(name).get(page("list")))
        assert "No sandboxes" in seen
    assert "spare-" not in words(lab.world.browser("admin").get(reverse("vms:list")))


def test_a_viewer_sees_no_button_that_would_be_refused(lab):
    box = lab.sandbox()
    for url in (page("list"), page("detail", box.vm_id)):
        bob, dana = (lab.world.browser(name).get(url).content.decode() for name in ("bob", "dana"))
        for offered in ("/do/extend", "/reset", "/delete"):
            assert offered in bob
            assert offered not in dana


def test_the_pushed_row_is_the_row_of_the_page(lab):
    box = lab.sandbox()
    fragment = render("lease", lab.world.alice, box.vm_id, show_project=True)
    assert fragment.target == f"lease-{box.vm_id}"
    pages = lab.world.browser("alice").get(page("list")).content.decode()
    squeeze = lambda html: re.sub(r'\s+|stroke-dasharray="[^"]*"|data-left>[^<]*<', " ", html)  # noqa: E731
    assert squeeze(fragment.html).strip() in squeeze(pages)


def test_the_pushed_page_is_whole_without_a_request(lab, settings):
    settings.DEBUG = True  # Django warns then of a token that cannot be had, and a warning is an error
    box = lab.sandbox()
    fragment = render("sandbox", lab.world.alice, box.vm_id)
    assert fragment.target == f"sandbox-{box.vm_id}"
    assert "data-run-form" in fragment.html


def test_queries_do_not_grow_with_the_list(lab, django_assert_max_num_queries):
    for n in range(2):
        lab.sandbox(f"box-{n}")
    alice = lab.world.browser("alice")
    alice.get(page("list"))
    with django_assert_max_num_queries(30) as few:
        alice.get(page("list"))
    for n in range(2, 6):
        lab.sandbox(f"box-{n}")
    with django_assert_max_num_queries(len(few.captured_queries)):
        alice.get(page("list"))


# --- one sandbox ------------------------------------------------------------------------------------------------
def test_its_machine_page_leads_to_its_own(lab):
    box = lab.sandbox()
    answer = lab.world.browser("alice").get(reverse("vms:detail", args=[box.vm_id]))
    assert answer["Location"] == page("detail", box.vm_id)


def test_time_left_is_in_words_without_script_and_amber_near_the_end(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    Sandbox.objects.filter(pk=box.pk).update(expires_at=timezone.now() + timedelta(hours=3, minutes=44, seconds=30))
    answer = alice.get(page("detail", box.vm_id))
    assert "3 h 44 min" in words(answer)
    assert "sw-lease soon" not in answer.content.decode()
    Sandbox.objects.filter(pk=box.pk).update(expires_at=timezone.now() + timedelta(minutes=14))
    assert "sw-lease soon" in alice.get(page("list")).content.decode()


def test_a_lease_that_ends_soon_is_said_with_the_way_out_on_every_page_and_in_what_is_pushed(lab):
    box = lab.sandbox(lease_minutes=120)
    alice, dana = (lab.world.browser(name) for name in ("alice", "dana"))
    pages = {page("detail", box.vm_id): "box-1 ends in", page("list"): "It ends in", "/": "box-1 ends in"}
    for url in pages:
        assert "ends in" not in words(alice.get(url)), url
    Sandbox.objects.filter(pk=box.pk).update(
        expires_at=timezone.now() + timedelta(minutes=12, seconds=30), warn_at=None
    )
    for url, sentence in pages.items():
        answer = alice.get(url)
        seen = words(answer)
        assert f"{sentence} 12 min" in seen, url
        assert "Then it is paused to disk, and you have 1 day to take it back." in seen, url
        assert "Extend 1 hour" in seen, url
        assert "Nothing needs you." not in seen
    for kind in ("sandbox", "lease"):
        html = render(kind, lab.world.alice, box.vm_id).html
        assert "ends in <span data-ends=" in html, kind
        assert page("act", box.vm_id, "extend") in html, kind
    seen = words(dana.get(page("detail", box.vm_id)))
    assert "box-1 ends in 12 min . Then it is paused to disk, and kept for 1 day." in seen
    assert "Extend" not in seen


def test_a_long_lease_is_spoken_of_hours_before_its_end(lab):
    box = lab.sandbox(lease_minutes=2 * 24 * 60)
    ends = timezone.now() + timedelta(hours=4, minutes=40, seconds=30)
    Sandbox.objects.filter(pk=box.pk).update(expires_at=ends, warn_at=ends - warning(timedelta(days=2)))
    assert "box-1 ends in 4 h 40 min" in words(lab.world.browser("alice").get(page("detail", box.vm_id)))


def test_a_short_lease_is_spoken_of_in_its_last_quarter(lab):
    box = lab.sandbox(lease_minutes=12)
    for minutes, told in ((4, False), (2, True)):
        ends = timezone.now() + timedelta(minutes=minutes, seconds=30)
        Sandbox.objects.filter(pk=box.pk).update(expires_at=ends, warn_at=ends - warning(timedelta(minutes=12)))
        seen = words(lab.world.browser("alice").get(page("detail", box.vm_id)))
        assert (f"ends in {minutes} min" in seen) is told


def test_it_says_how_soon_it_was_ready_and_for_how_long_nobody_used_it(lab):
    lab.prepared()
    box = lab.sandbox()
    asked = Operation.objects.get(vm=box.vm_id, kind="clone").created_at
    Sandbox.objects.filter(pk=box.pk).update(
        named_at=asked + timedelta(seconds=1.2), used_at=timezone.now() - timedelta(minutes=9, seconds=5)
    )
    alice = lab.world.browser("alice")
    seen = words(alice.get(page("detail", box.vm_id)))
    assert "ready in 1.2 s" in seen
    assert "Idle" not in seen, "nobody looks at whether it is used"
    Template.objects.update(idle_minutes=30)
    for url in (page("detail", box.vm_id), page("list")):
        assert "Idle for 9 min; paused after 30 min" in words(alice.get(url))
    lab.run(box)
    Run.objects.update(status="running", started_at=timezone.now())
    assert "Idle" not in words(alice.get(page("list")))


def test_one_press_extends_by_an_hour_and_never_beyond_policy(lab, settings):
    box = lab.sandbox()
    before = box.expires_at
    alice = lab.world.browser("alice")
    answer = alice.post(page("act", box.vm_id, "extend"), headers=SCRIPT)
    assert answer.json() == {"say": "box-1 lives 1 hour longer."}
    box = lab.again(box)
    assert box.expires_at - before == timedelta(hours=1)
    settings.SANDBOX_LEASE_MINUTES = (1, 60)
    assert "/do/extend" not in alice.get(page("detail", box.vm_id)).content.decode()


def test_pause_and_resume_stop_and_start_the_clock(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    assert alice.post(page("act", box.vm_id, "pause")).status_code == 302
    lab.world.drain()
    seen = words(alice.get(page("detail", box.vm_id)))
    assert "the clock is paused" in seen
    assert "Resume" in seen
    alice.post(page("act", box.vm_id, "resume"))
    lab.world.drain()
    assert lab.again(box).expires_at is not None


def test_one_that_went_off_by_itself_can_be_started_and_its_console_offers_nothing_that_is_refused(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    console = alice.get(reverse("vms:console", args=[box.vm_id])).content.decode()
    for offered, is_there in {"stop": True, "reboot": True, "pause": False, "start": False}.items():
        assert (reverse("vms:power", args=[box.vm_id, offered]) in console) is is_there, offered
    lab.world.hypervisor.happen(box.vm.domain_uuid, DomainState.STOPPED, "shutdown")
    VirtualMachine.objects.filter(pk=box.vm_id).update(observed_state="stopped", desired_state="stopped")
    assert "Start" in words(alice.get(page("detail", box.vm_id)))
    alice.post(page("act", box.vm_id, "resume"), headers=SCRIPT)
    lab.world.drain()
    assert lab.again(box).vm.observed_state == "running"


def test_an_ended_one_can_be_taken_back(lab):
    box = lab.sandbox()
    now = timezone.now()
    Sandbox.objects.filter(pk=box.pk).update(expires_at=None, ended_at=now, grace_until=now + timedelta(hours=20))
    VirtualMachine.objects.filter(pk=box.vm_id).update(observed_state="suspended", desired_state="stopped")
    alice = lab.world.browser("alice")
    for url in (page("list"), page("detail", box.vm_id)):
        seen = words(alice.get(url))
        assert "to take it back" in seen
        assert "Take it back" in seen
    answer = alice.post(page("act", box.vm_id, "restore"), headers=SCRIPT)
    assert answer.json()["say"].startswith("box-1 is yours again")


def test_reset_and_delete_ask_first(lab):
    lab.prepared()
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    asked = alice.get(page("reset", box.vm_id), headers=SCRIPT).content.decode()
    assert "Its files and the commands that run are lost" in asked
    assert not Operation.objects.filter(vm=box.vm_id, kind__in=("reset", "delete")).exists()
    assert alice.post(page("reset", box.vm_id), headers=SCRIPT).json()["say"]
    lab.world.drain()
    assert lab.again(box).vm.domain_uuid != box.vm.domain_uuid
    answer = alice.post(page("delete", box.vm_id), headers=SCRIPT)
    assert answer.json() == {"go": page("list")}
    lab.world.drain()
    assert alice.get(page("detail", box.vm_id)).status_code == 404


def test_a_clone_that_failed_can_be_made_anew_or_deleted_where_its_failure_stands(lab):
    lab.prepared()
    box = lab.sandbox(drain=False)
    lab.world.hypervisor.set_mute(box.vm.domain_uuid)
    lab.world.drain()
    alice, dana = (lab.world.browser(name) for name in ("alice", "dana"))
    seen = failure(alice, box)
    assert "The clone did not acknowledge its identity." in seen
    assert f'href="{page("reset", box.vm_id)}">Make it anew' in seen
    assert f'href="{page("delete", box.vm_id)}">Delete' in seen
    assert "Make it anew" not in dana.get(page("detail", box.vm_id)).content.decode()
    alice.post(page("reset", box.vm_id), headers=SCRIPT)
    lab.world.drain()
    assert failure(alice, box) == ""


@pytest.mark.parametrize(
    ("kind", "before", "verb"), [("suspend", "running", "pause"), ("restore", "suspended", "resume")]
)
def test_a_pause_or_a_going_on_that_failed_can_be_tried_again(lab, kind, before, verb):
    lab.prepared()
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    if before == "suspended":
        alice.post(page("act", box.vm_id, "pause"))
        lab.world.drain()
        alice.post(page("act", box.vm_id, "resume"))
    else:
        alice.post(page("act", box.vm_id, "pause"))
    VirtualMachine.objects.filter(pk=box.vm_id).update(observed_state=before)
    now = timezone.now()
    ended = {"status": "failed", "error_code": "no_space", "error_detail": "The disk was full.", "finished_at": now}
    Operation.objects.filter(vm=box.vm_id, kind=kind).update(**ended)
    Sandbox.objects.filter(pk=box.pk).update(expires_at=now + timedelta(hours=3), remaining_seconds=None)
    seen = failure(alice, box)
    assert f'formaction="{page("act", box.vm_id, verb)}"' in seen
    assert "Try again" in seen


def test_a_delete_that_failed_can_be_asked_for_again_and_nothing_else(lab):
    lab.prepared()
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    alice.post(page("delete", box.vm_id), headers=SCRIPT)
    now = timezone.now()
    ended = {"status": "failed", "error_code": "busy", "error_detail": "The disk is busy.", "finished_at": now}
    Operation.objects.filter(vm=box.vm_id, kind="delete").update(**ended)
    VirtualMachine.objects.filter(pk=box.vm_id).update(failure="delete_failed")
    assert f'href="{page("delete", box.vm_id)}">Delete again' in failure(alice, box)
    for url in (page("detail", box.vm_id), page("list")):
        html = alice.get(url).content.decode()
        assert "Delete again" in html
        for refused in ("/do/", "/reset", "/keep"):
            assert f"{box.vm_id}{refused}" not in html


def test_keeping_shows_the_quota_and_makes_an_ordinary_machine(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    QuotaLimit.objects.filter(project=lab.world.harbor, dimension="vms").update(limit=0)
    refused = alice.post(page("keep", box.vm_id), headers=SCRIPT)
    assert refused.status_code == 422
    assert "Machines: harbor may use 0" in words(refused)
    QuotaLimit.objects.filter(project=lab.world.harbor, dimension="vms").update(limit=5)
    assert "1 of 5" in words(alice.get(page("keep", box.vm_id)))
    answer = alice.post(page("keep", box.vm_id), headers=SCRIPT)
    assert answer.json() == {"go": reverse("vms:detail", args=[box.vm_id])}
    assert VirtualMachine.objects.get(pk=box.vm_id).role == Role.MACHINE
    assert alice.get(page("detail", box.vm_id)).status_code == 404


@pytest.mark.parametrize("name", ["list", "detail", "reset", "keep", "delete", "isolation"])
def test_no_markup_needs_an_exception_from_the_policy(lab, name):
    box = lab.sandbox()
    answer = lab.world.browser("alice").get(page(name, *([] if name == "list" else [box.vm_id])))
    html = answer.content.decode()
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)


# --- runs -------------------------------------------------------------------------------------------------------
def test_a_command_is_begun_by_script_and_by_plain_form(lab, started, django_capture_on_commit_callbacks):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    asked = {"command": "make -j2", "cwd": "/srv", "env": "A=1\nB=two words", "timeout_seconds": "30"}
    with django_capture_on_commit_callbacks(execute=True):
        answer = alice.post(page("start-run", box.vm_id), asked, headers=SCRIPT)
    run = Run.objects.get()
    assert (answer.status_code, answer.json()["run"]) == (202, str(run.pk))
    assert (run.command, run.cwd, run.env, run.timeout_seconds) == (
        "make -j2", "/srv", {"A": "1", "B": "two words"}, 30,
    )  # fmt: skip
    assert started == [run.pk]
    plain = alice.post(page("start-run", box.vm_id), {"command": "true"})
    assert plain["Location"] == page("run", Run.objects.order_by("created_at").last().pk)


def test_what_is_wrong_with_a_command_is_said(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    for asked, sentence in (
        ({"command": "x", "env": "nonsense"}, "One variable a line, as NAME=value."),
        ({"command": "x", "cwd": "here"}, "A folder begins with /."),
        ({"command": ""}, "This field is required."),
    ):
        answer = alice.post(page("start-run", box.vm_id), asked, headers=SCRIPT)
        assert (answer.status_code, answer.json()["say"]) == (422, sentence)
    assert not Run.objects.exists()


def test_the_history_says_how_commands_ended(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    run = services.request_run(lab.world.actor("alice"), box.vm_id, services.NewRun(command="false"))
    now = timezone.now()
    ended = {"status": "exited", "exit_code": 7, "started_at": now - timedelta(seconds=3), "finished_at": now}
    Run.objects.filter(pk=run.pk).update(**ended, stdout_bytes=2048, stdout_truncated=True)
    assert "exit code 7, 3 s" in words(alice.get(page("detail", box.vm_id)))
    seen = words(alice.get(page("run", run.pk)))
    assert "2 KiB" in seen
    assert "It said more than is kept: 4 MiB of each stream." in seen


def test_a_command_is_stopped(lab, monkeypatch, django_capture_on_commit_callbacks):
    killed = []
    monkeypatch.setattr(gateway_runs, "kill", lambda run: killed.append(run.pk))
    box = lab.sandbox()
    run = services.request_run(lab.world.actor("alice"), box.vm_id, services.NewRun(command="sleep 9"))
    Run.objects.filter(pk=run.pk).update(status="running", started_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        answer = lab.world.browser("bob").post(page("kill", run.pk), headers=SCRIPT)
    assert answer.json() == {"say": "The command is being stopped."}
    assert killed == [run.pk]


# --- files ------------------------------------------------------------------------------------------------------
def test_a_folder_shows_the_guests_names_as_text_with_a_way_to_get_each(lab, monkeypatch):
    box = lab.sandbox()
    asked = []
    Entry = gateway_runs.Entry  # noqa: N806

    def list_folder(vm, path):
        asked.append(path)
        found = [Entry("corpus", "folder", 4096), Entry("<i>&\n\u202e", "file", 3174), Entry("raw", "other", 0)]
        return found, True

    monkeypatch.setattr(gateway_runs, "list_folder", list_folder)
    alice = lab.world.browser("alice")
    answer = alice.get(page("folder", box.vm_id))
    alice.get(page("folder", box.vm_id), {"path": "/srv"}, headers=SCRIPT)
    assert asked == ["/home/slipway", "/srv"]
    html = answer.content.decode()
    assert "<i>" not in html
    assert "\u202e" not in html
    assert "There is more in it than is shown here." in words(answer)
    assert "3.1 KiB" in words(answer)
    assert html.count('data-folder-link href="') == 2
    gets = re.findall(r'href="([^"]+)" download', html)
    file = reverse("api:get_file", args=[box.vm_id])
    assert gets == [f"{file}?path=%2Fhome%2Fslipway%2F{name}" for name in ("corpus", "%3Ci%3E%26%0A%E2%80%AE")]
    assert page("folder", box.vm_id) in alice.get(page("detail", box.vm_id)).content.decode()


def test_why_a_folder_cannot_be_listed_is_said(lab, monkeypatch):
    box = lab.sandbox()

    def refuse(vm, path):
        raise gateway_runs.NoSuchFile("There is no such file or folder in the guest.")

    monkeypatch.setattr(gateway_runs, "list_folder", refuse)
    answer = lab.world.browser("bob").get(page("folder", box.vm_id), {"path": "/nowhere"})
    assert "There is no such file or folder in the guest." in words(answer)


# --- isolation --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("language", "code", "sentence"),
    [
        ("fr", "reset", "Le bac à sable a été réinitialisé pendant "),
        ("en", "reset", "The sandbox was reset while this ran."),
        ("fr", "refused", "It was said in English."),  # the guest's own words: there is no other sentence
    ],
)
def test_why_a_run_has_no_exit_code_is_said_in_the_readers_language(lab, language, code, sentence):
    box = lab.sandbox()
    run = Run.objects.create(
        vm=box.vm, created_by=lab.world.alice, argv=["true"], status="lost", finished_at=timezone.now(),
        error_code=code, error_detail="It was said in English.",
    )  # fmt: skip
    spoken = {"Accept-Language": language}
    assert sentence in words(lab.world.browser("alice").get(page("run", run.pk), headers=spoken))
    told = lab.world.api("alice").call("GET", f"runs/{run.pk}", headers=spoken).json()
    assert told["error"]["code"] == code
    assert told["error"]["detail"].startswith(sentence)


def test_a_check_runs_the_probe_and_the_report_says_what_it_could_not_do(lab, monkeypatch):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    assert "It has not been checked yet." in words(alice.get(page("isolation", box.vm_id)))
    answer = alice.post(page("isolation", box.vm_id), headers=SCRIPT)
    run = Run.objects.get()
    assert answer.json()["run"] == str(run.pk)
    host = box.vm.nics.get().network.gateway
    assert host in run.argv[3].split(",")
    assert any(word.endswith("slipway-probe") for word in run.argv)
    assert "The check is under way." in words(alice.get(page("isolation", box.vm_id)))
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(status="exited", exit_code=0, started_at=now, finished_at=now)
    printed = b"host_tcp blocked \nneighbour_ping open \nmetadata blocked \nforged_mac untested no socket\n"
    printed += b"neighbour_arp untested nobody\ndhcp untested nobody\n"
    calls = []

    def output(run, stream, offset=0, limit=0):
        calls.append(stream)
        return gateway_runs.Piece(printed, len(printed), True)

    monkeypatch.setattr(gateway_runs, "output", output)
    for _ in range(2):
        seen = words(alice.get(page("isolation", box.vm_id)))
        assert "2 of 15 held" in seen
        assert "Connect to this host no answer" in seen
        assert "Ping a neighbour answered" in seen
        assert "Find a neighbour not tested: there is no neighbour" in seen
        assert "Answer DHCP for others not tested: nobody is there who would answer" in seen
        assert "Send with another MAC could not be tried: no socket" in seen
    assert calls == ["stdout"], "what has ended does not change"


@pytest.mark.parametrize(
    ("network", "answered", "held"), [("nat", "53", 1), ("nat", "22,53", 0), ("isolated", "53", 0)]
)
def test_only_a_network_with_names_may_answer_and_for_names_alone(lab, network, answered, held):
    box = lab.sandbox(network=network)
    run = lab.run(box)
    Run.objects.filter(pk=run.pk).update(status="exited", exit_code=0, finished_at=timezone.now())
    run.refresh_from_db()
    assert report(run, f"host_tcp open {answered}\n", network).held == held


def test_a_gateway_that_is_away_is_said(lab, monkeypatch):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    alice.post(page("isolation", box.vm_id))
    now = timezone.now()
    Run.objects.update(status="exited", exit_code=0, started_at=now, finished_at=now)

    def away(*_arguments):
        raise Unavailable("The node does not answer just now.")

    monkeypatch.setattr(gateway_runs, "output", away)
    assert "does not answer" in words(alice.get(page("isolation", box.vm_id)))


# --- templates --------------------------------------------------------------------------------------------------
def new_template(**changes):
    form = {
        "name": "tools", "project": "harbor", "image": "micro", "flavor": "nano", "network": "nat",
        "lease_minutes": "60", "ready_script": "#!/bin/sh\ntrue\n",
    }  # fmt: skip
    return form | changes


def test_a_member_makes_a_template_of_the_project_and_it_is_prepared(lab):
    answer = lab.world.browser("bob").post(page("new-template"), new_template())
    assert answer.status_code == 302
    assert said(answer) == ["The template is being prepared. You can watch it."]
    assert "Waiting for the node to take it" in words(lab.world.browser("bob").get(answer["Location"]))
    lab.world.drain()
    assert "Ready" in words(lab.world.browser("bob").get(answer["Location"]))
    assert lab.world.browser("charlie").get(answer["Location"]).status_code == 404


@pytest.mark.parametrize(
    ("name", "everybodys", "projects"),
    [("alice", False, True), ("bob", False, True), ("dana", False, False), ("admin", True, True)],
)
def test_a_script_and_what_it_said_are_for_those_who_may_change_it_on_the_page_and_in_the_api(
    lab, name, everybodys, projects
):
    of_project = services.request_template(
        lab.world.actor("bob"), services.NewTemplate(name="tools", image="micro", flavor="nano", project="harbor")
    )
    for template, told in ((lab.template, everybodys), (of_project, projects)):
        Template.objects.filter(pk=template.pk).update(ready_script="#!/bin/sh\necho hush-1\n")
        template.refresh_from_db()
        build = lab.prepared(template)
        TemplateBuild.objects.filter(pk=build.pk).update(output="hush-2")
        seen = words(lab.world.browser(name).get(page("template", template.pk)))
        one = lab.world.api(name).call("GET", f"templates/{template.pk}").json()
        listed = lab.world.api(name).call("GET", f"templates?search={template.name}").json()["items"]
        for shown in (one, *listed):
            assert (shown["ready_script"] is not None) is told
            assert [output["output"] for output in shown["builds"]] == ["hush-2" if told else None]
        assert ("hush-1" in seen, "hush-2" in seen) == (told, told)
        assert len(listed) == 1


def test_a_stranger_does_not_see_that_there_is_a_script(lab):
    made = services.request_template(
        lab.world.actor("bob"), services.NewTemplate(name="tools", image="micro", flavor="nano", project="harbor")
    )
    charlie = lab.world.api("charlie")
    assert charlie.call("GET", f"templates/{made.pk}").status_code == 404
    assert [one["name"] for one in charlie.call("GET", "templates").json()["items"]] == ["micro"]


def test_mistakes_stand_at_their_fields_and_what_was_typed_is_kept(lab):
    answer = lab.world.browser("alice").post(page("new-template"), new_template(name="Tools", ready_script="true é"))
    html = answer.content.decode()
    assert answer.status_code == 422
    for name in ("name", "ready_script"):
        assert f'id="id_{name}_error"' in html
    assert "true é" in html


def test_what_was_measured_of_a_template_is_said(lab):
    build = lab.prepared()
    Template.objects.update(pool_size=2)
    admin = lab.world.browser("admin")
    assert "measured once one waits" in words(admin.get(page("template", lab.template.pk)))
    TemplateBuild.objects.filter(pk=build.pk).update(ready_ms=410, idle_mib=65, boot_ms=36_400)
    assert "about 130 MiB of memory together" in words(admin.get(page("template", lab.template.pk)))
    assert "Ready in 0.4 s" in words(admin.get(page("list")))
    TemplateBuild.objects.filter(pk=build.pk).update(fingerprint="another")
    seen = words(admin.get(page("list")))
    assert "Ready in" not in seen
    assert "boots in about 36 s" in seen


def test_a_sandbox_says_what_memory_is_its_own(lab):
    lab.prepared()
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    assert "of its own" not in words(alice.get(page("detail", box.vm_id)))
    Sample.objects.create(vm=box.vm, at=timezone.now(), cpu_time_ns=0, disk_bytes=0, net_bytes=0)
    memory.look(lab.world.node, lab.world.hypervisor)
    assert "65 MiB of its own, the rest shared" in words(alice.get(page("detail", box.vm_id)))


def test_only_staff_make_templates_for_everybody_and_size_the_pool(lab):
    refused = lab.world.browser("alice").post(page("new-template"), new_template(project=""))
    assert refused.status_code == 422
    assert "pool_size" not in lab.world.browser("alice").get(page("new-template")).content.decode()
    made = lab.world.browser("admin").post(page("new-template"), new_template(name="all", project="", pool_size="2"))
    assert made.status_code == 302
    lab.world.drain()
    admin = lab.world.browser("admin")
    answer = admin.post(page("pool", lab.template.pk), {"pool_size": "3"}, headers=SCRIPT)
    assert answer.json()["say"].endswith("3 clones wait on each node.")
    assert "3 clones wait on each node, paused" in words(admin.get(page("template", lab.template.pk)))


def test_a_failed_preparation_shows_why_what_was_said_and_the_last_screen(lab):
    services.request_prepare(lab.world.actor("admin"), lab.template.pk)
    build = TemplateBuild.objects.get()
    TemplateBuild.objects.filter(pk=build.pk).update(
        status="failed", reason="ready_script_failed", reason_detail="The ready script ended with exit code 7.",
        output="dnf: no mirror", screenshot=b"\x89PNG",
    )  # fmt: skip
    admin = lab.world.browser("admin")
    answer = admin.get(page("template", lab.template.pk))
    assert "exit code 7" in words(answer)
    assert "dnf: no mirror" in words(answer)
    picture = page("build-screen", build.pk)
    assert picture in answer.content.decode()
    assert admin.get(picture)["Content-Type"] == "image/png"
    assert lab.world.browser("charlie").get(picture).status_code in (403, 404)
    assert admin.get(page("build-screen", uuid4())).status_code == 404


def test_home_and_palette_know_sandboxes(lab):
    box = lab.sandbox()
    alice = lab.world.browser("alice")
    assert "Your sandboxes All sandboxes box-1" in words(alice.get(reverse("home")))
    found = alice.get(reverse("vms:search"), {"q": "box"}).json()["results"]
    assert {"text": "box-1", "href": page("detail", box.vm_id)}.items() <= found[0].items()
    texts = {entry["text"] for entry in alice.get(reverse("vms:search"), {"q": lab.template.name}).json()["results"]}
    assert f"New sandbox from {lab.template.name}" in texts
