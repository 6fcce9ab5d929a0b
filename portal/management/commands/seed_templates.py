"""`manage.py seed_templates`: templates of everybody's for the images that are there. Development only."""

from typing import Any

from django.core.management.base import BaseCommand

from sandboxes.models import Template
from vms.models import Flavor, Image

# image: (flavor, clones that wait on each node)
TEMPLATES = {"micro": ("nano", 1), "debian-12": ("small", 1)}


class Command(BaseCommand):
    help = "Adds the demo templates whose image is there; one that was taken away stays away."

    def handle(self, *args: Any, **options: Any) -> None:
        for name, (flavor_name, waiting) in TEMPLATES.items():
            image = Image.objects.filter(name=name, active=True).first()
            flavor = Flavor.objects.filter(name=flavor_name).first()
            if image is None or flavor is None or Template.objects.filter(project=None, name=name).exists():
                continue
            Template.objects.create(
                name=name, description=image.title, image=image, flavor=flavor, pool_size=waiting, share_ram=True
            )
            self.stdout.write(f"template {name}: prepared as soon as the node is up")
