"""What every part of the driver stands on. Imported after Django was set up."""

from django.conf import settings

from accounts.actor import Actor
from accounts.models import User
from hypervisor.factory import open_hypervisor
from tests.portal.world import ApiClient


class Base:
    """The hypervisor of this node, and the person who asks."""

    def __init__(self) -> None:
        self.hypervisor = open_hypervisor(settings.LIBVIRT_URI)
        self.client: ApiClient | None = None

    def actor(self) -> Actor:
        return Actor(user=User.objects.get(username="alice"), via="test")
