from django.apps import AppConfig
from django.db.models.signals import pre_delete


class SandboxesConfig(AppConfig):
    name = "sandboxes"
    verbose_name = "Sandboxes"

    def ready(self) -> None:
        from vms.presenting.operation_page import OFFERS
        from vms.settling import operation_ended
        from vms.views.palette import SOURCES

        from . import endings
        from .models import Sandbox
        from .presenting.fragments import offer_fragments
        from .presenting.operations import acts_of
        from .views.palette import found

        operation_ended.connect(endings.operation_ended, dispatch_uid="sandboxes.endings")
        pre_delete.connect(endings.sandbox_goes, sender=Sandbox, dispatch_uid="sandboxes.ledger")
        offer_fragments()
        SOURCES.append(found)
        OFFERS.append(acts_of)
