"""The pages of machines."""

from django.urls import path

from .views import console, create, machine, machines, palette

app_name = "vms"
urlpatterns = [
    path("", machines.machines, name="list"),
    path("new", create.create, name="new"),
    path("search", palette.search, name="search"),
    path("bulk/delete", machines.bulk_delete, name="bulk-delete"),
    path("bulk/<slug:verb>", machines.bulk, name="bulk"),
    path("operations/<uuid:operation_id>/cancel", machine.cancel, name="cancel"),
    path("<uuid:vm_id>/", machine.machine, name="detail"),
    path("<uuid:vm_id>/console", console.console, name="console"),
    path("<uuid:vm_id>/power/<slug:verb>", machine.power, name="power"),
    path("<uuid:vm_id>/again", machine.again, name="again"),
    path("<uuid:vm_id>/force-off", machine.force_off, name="force-off"),
    path("<uuid:vm_id>/delete", machine.delete, name="delete"),
    path("<uuid:vm_id>/edit", machine.edit, name="edit"),
    path("<uuid:vm_id>/resize", machine.resize, name="resize"),
]
