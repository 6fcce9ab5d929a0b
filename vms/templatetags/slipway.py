"""What templates draw with: icons, pills, bars, times. Words and figures come from vms.presenting."""

from datetime import datetime
from typing import Any

from django import template
from django.forms import BaseForm, BoundField
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, get_language_info
from django.utils.translation import gettext as _

from vms.presenting import amounts
from vms.presenting.gauges import Gauge
from vms.states import Status

register = template.Library()

_TONES = {
    Status.RUNNING: "ok",
    Status.CREATING: "busy",
    Status.PAUSED: "hold",
    Status.SUSPENDED: "hold",
    Status.CRASHED: "bad",
    Status.ERROR: "bad",
    Status.UNKNOWN: "warn",
}
_FACES = ("", "v", "g", "o")


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """Return an icon of the page's sprite; `classes` may be "s" for the small size."""
    return format_html('<svg class="sw-i {}" aria-hidden="true"><use href="#i-{}"/></svg>', classes, name)


@register.simple_tag
def colon() -> str:
    """Return a colon as the reader's language sets it: French puts a space before it."""
    return _(": ")


@register.simple_tag
def glyph(status: str, tone: str = "") -> SafeString:
    """Return the silhouette of a status (or of "ok", "no", "wait", "todo", "busy") in its colour."""
    name = "busy" if status == Status.CREATING else status
    colour = (
        tone
        or {"ok": "ok", "no": "bad", "wait": "warn", "busy": "busy"}.get(status)
        or _TONES.get(Status(status) if status in Status.values else Status.ABSENT, "idle")
    )
    spin = " sw-spin" if name == "busy" else ""
    return format_html(
        '<svg class="sw-glyph t-{}{}" viewBox="0 0 16 16" aria-hidden="true"><use href="#s-{}"/></svg>',
        colour,
        spin,
        name,
    )


@register.inclusion_tag("fragments/status.html")
def status_pill(status: str, seen_at: datetime | None = None) -> dict[str, Any]:
    """Return the pill of a status: shape, word, colour; an unknown one says when it was last seen."""
    return {
        "status": status,
        "label": Status(status).label,
        "seen_at": seen_at if status == Status.UNKNOWN else None,
    }


@register.simple_tag
def bar(gauge: Gauge, classes: str = "") -> SafeString:
    """Return a gauge's bar. Widths are SVG attributes: the policy forbids inline styles."""
    pieces = format_html_join(
        "",
        '<rect class="{}" x="{}" width="{}" height="100%"/>',
        ((part.kind, part.start, part.width) for part in gauge.parts),
    )
    return format_html('<svg class="sw-bar {}" role="img" aria-label="{}">{}</svg>', classes, gauge.spoken, pieces)


@register.inclusion_tag("fragments/gauge.html")
def quota_gauge(gauge: Gauge) -> dict[str, Any]:
    """Return one quota's label, figures, bar and what is left."""
    return {"gauge": gauge}


@register.simple_tag
def avatar(name: str, classes: str = "") -> SafeString:
    """Return two letters in a circle whose colour follows from the name."""
    words = [word for word in name.replace("_", "-").replace(".", "-").split("-") if word]
    letters = (words[0][0] + words[1][0] if len(words) > 1 else name[:2]).upper()
    face = _FACES[sum(name.encode()) % len(_FACES)]
    return format_html('<span class="sw-ava {} {}" data-i="{}" aria-hidden="true"></span>', face, classes, letters)


@register.simple_tag
def clock(moment: datetime | None, style: str = "auto") -> SafeString:
    """Return a moment as <time>. Scripts put it into the reader's own time zone; without them it says UTC.

    `style` is "auto" (the time today, else with the day) or "day" (always with the day).
    """
    if moment is None:
        return format_html('<span class="sw-faint">{}</span>', _("never"))
    utc = timezone.localtime(moment, timezone.get_default_timezone())
    today = utc.date() == timezone.now().date() and style == "auto"
    shown = date_format(utc, "H:i") if today else f"{date_format(utc, 'j M')}, {date_format(utc, 'H:i')}"
    return format_html(
        '<time datetime="{}" data-clock="{}">{}\u00a0UTC</time>',
        utc.isoformat(timespec="milliseconds"),
        style,
        shown,
    )


@register.simple_tag
def since(moment: datetime) -> SafeString:
    """Return a duration that counts up in the page."""
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    return format_html('<sw-since at="{}">{}\u00a0s</sw-since>', moment.isoformat(timespec="milliseconds"), seconds)


@register.simple_tag
def until(moment: datetime) -> SafeString:
    """Return a duration that counts down in the page."""
    seconds = max(0, int((moment - timezone.now()).total_seconds()))
    return format_html('<sw-until at="{}">{}\u00a0s</sw-until>', moment.isoformat(timespec="milliseconds"), seconds)


@register.filter
def span(moment: datetime | None) -> str:
    """Return how long ago a moment is, in its largest unit: 3 days, 2 hours."""
    return amounts.span(moment, timezone.now()) if moment else ""


@register.filter
def seconds(value: float) -> str:
    """Return a short duration: 12 ms, 0.6 s, 41 s, 2 min 5 s."""
    return amounts.seconds(value)


@register.filter
def mib(value: int) -> str:
    """Return MiB with a unit, in GiB from one GiB on."""
    return amounts.mib(value)


@register.filter
def gib(value: int) -> str:
    """Return GiB with their unit."""
    return amounts.gib(value)


@register.filter
def bad_fields(form: BaseForm) -> list[BoundField]:
    """Return the fields of a form that were refused."""
    return [field for field in form if field.errors]


@register.simple_tag(takes_context=True)
def theme(context: dict[str, Any]) -> str:
    """Return the reader's choice: "light", "dark", or "system" where none was made."""
    request: HttpRequest | None = context.get("request")
    chosen = request.COOKIES.get("theme", "") if request else ""
    return chosen if chosen in ("light", "dark") else "system"


@register.simple_tag
def server_now() -> str:
    """Return the server's time, for countdowns that do not trust the browser's clock."""
    return timezone.now().isoformat(timespec="milliseconds")


@register.simple_tag
def language_buttons() -> SafeString:
    """Return a button for every language but the current one; they post through the form "tongue"."""
    from django.conf import settings

    others = [get_language_info(code) for code, _name in settings.LANGUAGES if code != get_language()]
    return format_html_join(
        "",
        '<button type="submit" form="tongue" name="language" value="{}" lang="{}">{} {}</button>',
        ((info["code"], info["code"], icon("globe", "s"), info["name_local"].capitalize()) for info in others),
    )
