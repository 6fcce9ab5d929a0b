"""The pages of sandboxes and templates."""

from django.urls import path

from .views import folder, isolation, listing, runs, sandbox, templates

app_name = "sandboxes"
urlpatterns = [
    path("", listing.sandboxes, name="list"),
    path("new/<uuid:template_id>", listing.new, name="new"),
    path("templates/", templates.templates, name="templates"),
    path("templates/new", templates.new_template, name="new-template"),
    path("templates/<uuid:template_id>/", templates.template, name="template"),
    path("templates/<uuid:template_id>/prepare", templates.prepare, name="prepare"),
    path("templates/<uuid:template_id>/pool", templates.pool, name="pool"),
    path("templates/<uuid:template_id>/retire", templates.retire, name="retire"),
    path("builds/<uuid:build_id>/screen.png", templates.screen, name="build-screen"),
    path("runs/<uuid:run_id>/", runs.run, name="run"),
    path("runs/<uuid:run_id>/kill", runs.kill, name="kill"),
    path("<uuid:vm_id>/", sandbox.sandbox, name="detail"),
    path("<uuid:vm_id>/do/<slug:verb>", sandbox.act_on, name="act"),
    path("<uuid:vm_id>/reset", sandbox.reset, name="reset"),
    path("<uuid:vm_id>/keep", sandbox.keep, name="keep"),
    path("<uuid:vm_id>/delete", sandbox.delete, name="delete"),
    path("<uuid:vm_id>/runs", runs.start, name="start-run"),
    path("<uuid:vm_id>/folder", folder.folder, name="folder"),
    path("<uuid:vm_id>/isolation", isolation.isolation, name="isolation"),
]
