"""The demo's templates: for the images that are there, once."""

from django.core.management import call_command

from sandboxes.models import Template
from vms.models import Image


def test_templates_come_with_their_images_and_stay_away_when_they_were_taken_away(world):
    Image.objects.filter(name="debian-12").update(active=False)
    for _time in range(2):
        call_command("seed_templates")
        assert list(Template.objects.values_list("name", flat=True)) == ["micro"]
    Template.objects.update(active=False)
    Image.objects.update(active=True)
    call_command("seed_templates")
    assert set(Template.objects.filter(active=True).values_list("name", flat=True)) == {"debian-12"}
