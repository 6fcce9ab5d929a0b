"""The pages of machines."""

from django.urls import path

from .views import console, create, desk, desk_audit, desk_fleet, desk_limits, desk_people, machine, machines, palette

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

# below /admin-desk/, in the namespace "desk"
desk_urlpatterns = [
    path("", desk.desk, name="home"),
    path("people/", desk_people.people, name="people"),
    path("people/new", desk_people.new_person, name="new-person"),
    path("people/<uuid:user_id>/", desk_people.person, name="person"),
    path("people/<uuid:user_id>/shut-out", desk_people.shut_out, name="shut-out"),
    path("people/<uuid:user_id>/let-in", desk_people.let_in, name="let-in"),
    path("projects/", desk_people.projects, name="projects"),
    path("projects/new", desk_people.new_project, name="new-project"),
    path("projects/<uuid:project_id>/limits", desk_limits.limits, name="limits"),
    path("machines/", desk_fleet.machines, name="machines"),
    path("operations/", desk_fleet.operations, name="operations"),
    path("nodes/", desk_fleet.nodes, name="nodes"),
    path("nodes/<uuid:node_id>/cordon", desk_fleet.cordon, name="cordon"),
    path("nodes/<uuid:node_id>/uncordon", desk_fleet.uncordon, name="uncordon"),
    path("capacity/", desk_fleet.capacity, name="capacity"),
    path("audit/", desk_audit.audit, name="audit"),
]
