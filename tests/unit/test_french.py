"""The French catalogue: complete, compiled, and with every figure that the English sentence has."""

import gettext
import re
from pathlib import Path

CATALOGUE = Path(__file__).parents[2] / "locale" / "fr" / "LC_MESSAGES"
FIGURE = re.compile(r"%\((\w+)\)[sd]|%[sd]|\{(\w+)\}")


def compiled():
    with (CATALOGUE / "django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)._catalog


def pairs():
    """The sentences of the compiled catalogue, plural forms one by one: (English, French, is a plural form)."""
    return [
        (key[0] if isinstance(key, tuple) else key, value, isinstance(key, tuple))
        for key, value in compiled().items()
        if key
    ]


def written():
    """The English sentences of the source catalogue."""
    source = (CATALOGUE / "django.po").read_text()
    return {text.replace('\\"', '"').replace("\\n", "\n") for text in re.findall(r'^msgid "(.+)"$', source, re.M)}


def test_nothing_is_left_untranslated_and_the_compiled_file_is_current():
    source = (CATALOGUE / "django.po").read_text()
    assert not re.findall(r'^msgstr(?:\[\d\])? ""$(?!\n")', source, re.M)
    assert "fuzzy" not in source
    assert {english for english, _french, _plural in pairs()} == written()


def test_every_figure_of_the_english_is_in_the_french():
    wrong = []
    for english, french, plural in pairs():
        wanted, found = set(FIGURE.findall(english)), set(FIGURE.findall(french))
        if not (wanted <= found if plural else wanted == found):
            wrong.append((english, french))
    assert wrong == []


def test_the_typography_is_french():
    assert [french for _english, french, _plural in pairs() if re.search(r" [;?!»]| :(?!/)|« |'", french)] == []
