"""What machines are made from."""

from django.http import HttpRequest
from ninja import Query

from ..models import Flavor, Image
from . import shapes, show
from .door import router
from .paging import PageParams, paged

routes = router("catalogue")


@routes.get("flavors", response=shapes.Page[shapes.Flavor])
def list_flavors(request: HttpRequest, wanted: Query[PageParams]) -> shapes.Page[shapes.Flavor]:
    """Return the sizes on offer, small ones first."""
    rows = Flavor.objects.filter(active=True)
    return paged(rows, ["memory_mib", "vcpus", "disk_gib", "name"], wanted, show.flavor)


@routes.get("images", response=shapes.Page[shapes.Image])
def list_images(request: HttpRequest, wanted: Query[PageParams]) -> shapes.Page[shapes.Image]:
    """Return the images on offer, by name."""
    return paged(Image.objects.filter(active=True), ["name"], wanted, show.image)
