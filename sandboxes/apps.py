from django.apps import AppConfig
from django.db.models.signals import pre_delete


class SandboxesConfig(AppConfig):
    name = "sandboxes"
    verbose_name = "Sandboxes"

    def ready(self) -> None:
        from vms.settling import operation_ended

        from . import endings
        from .models import Sandbox

        operation_ended.connect(endings.operation_ended, dispatch_uid="sandboxes.endings")
        pre_delete.connect(endings.sandbox_goes, sender=Sandbox, dispatch_uid="sandboxes.ledger")
