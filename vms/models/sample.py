"""The last sample of what a running machine uses."""

from django.db import models

from .vm import VirtualMachine


class Sample(models.Model):
    """Rates since the sample before, beside the counters that they were made from. Only running machines have one.

    `cpu_percent` is of all its processors together: 100 is all of them busy. Counters start again with the domain.
    """

    vm = models.OneToOneField(VirtualMachine, models.CASCADE, primary_key=True, related_name="sample")
    at = models.DateTimeField()
    cpu_time_ns = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    net_bytes = models.PositiveBigIntegerField()
    cpu_percent = models.FloatField(null=True)
    memory_used_mib = models.PositiveIntegerField(null=True)
    own_memory_mib = models.PositiveIntegerField(null=True, help_text="of the host's, where others share the rest")
    disk_bytes_per_second = models.PositiveBigIntegerField(null=True)
    net_bytes_per_second = models.PositiveBigIntegerField(null=True)

    def __str__(self) -> str:
        return f"load of {self.vm_id} at {self.at}"


def last_sample(vm: VirtualMachine) -> Sample | None:
    """Return what a machine used at last, None where it does not run; select `sample` with its row."""
    found: Sample | None = getattr(vm, "sample", None)
    return found
