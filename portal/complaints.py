"""What is wrong with a request's fields, in sentences: from pydantic's errors to `{field: [sentence, ...]}`."""

from collections.abc import Sequence
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

_SENTENCES: dict[str, str | Promise] = {
    "missing": _("This field is needed."),
    "extra_forbidden": _("There is no such field."),
    "string_type": _("This has to be text."),
    "string_unicode": _("This is not valid text."),
    "string_too_short": _("At least %(min_length)s characters."),
    "string_too_long": _("At most %(max_length)s characters."),
    "int_type": _("This has to be a whole number."),
    "int_parsing": _("This has to be a whole number."),
    "int_parsing_size": _("This number is too large."),
    "int_from_float": _("This has to be a whole number."),
    "bool_type": _("This has to be true or false."),
    "list_type": _("This has to be a list."),
    "dict_type": _("This has to be an object."),
    "model_type": _("This has to be an object."),
    "model_attributes_type": _("This has to be an object."),
    "greater_than_equal": _("At least %(ge)s."),
    "less_than_equal": _("At most %(le)s."),
    "less_than": _("Less than %(lt)s."),
    "literal_error": _("One of %(expected)s."),
    "enum": _("One of %(expected)s."),
    "timezone_aware": _("A time needs its zone, as in 2030-01-31T12:00:00Z."),
    "datetime_type": _("A time looks like 2030-01-31T12:00:00Z."),
    "datetime_parsing": _("A time looks like 2030-01-31T12:00:00Z."),
    "datetime_from_date_parsing": _("A time looks like 2030-01-31T12:00:00Z."),
}
_WHOLE_BODY = "body"
_PARAMETERS = frozenset({"body", "wanted"})  # names of our view functions' parameters, which nobody outside knows


def fields_of(errors: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return {name: [sentence, ...]}; a name in depth is joined by dots, `body` stands for all of it."""
    fields: dict[str, list[str]] = {}
    for error in errors:
        fields.setdefault(_name(error["loc"]), []).append(_sentence(error))
    return fields


def unknown_fields(errors: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names that were sent and do not exist."""
    return [_name(error["loc"]) for error in errors if error["type"] == "extra_forbidden"]


def _name(location: Sequence[str | int]) -> str:
    parts = [str(part) for part in location[1:]]  # the first says where: body, query, path
    if parts and parts[0] in _PARAMETERS:
        parts = parts[1:]
    return ".".join(part for part in parts if part != "[key]")[:100] or _WHOLE_BODY


def _sentence(error: dict[str, Any]) -> str:
    sentence = _SENTENCES.get(error["type"])
    return str(sentence) % error.get("ctx", {}) if sentence is not None else str(error["msg"])
