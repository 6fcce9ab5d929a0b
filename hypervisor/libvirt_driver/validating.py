"""Holding domains against libvirt's own schema, here: its VALIDATE flags compile the schema anew for each domain.

That is 8 of the 9 ms that such a check takes, and here it is done once for each process. The file is this host's, as
libvirtd's is; in a container it is that of the libvirt that the image was built with.
"""

import logging
import threading
from functools import cache
from pathlib import Path

from lxml import etree

from hypervisor.errors import BadSpec
from hypervisor.xml_text import from_text

log = logging.getLogger(__name__)
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
_TOLD = 400  # characters of a complaint
_alone = threading.Lock()  # a schema keeps the complaints of its last check


def checked(text: str, flag: int) -> int:
    """Return 0 when the domain's XML is as the schema says; `flag`, libvirt's own, where there is no schema to read.

    Raises BadSpec with what is wrong.
    """
    schema = _schema()
    if schema is None:
        return flag
    root = from_text(text)
    with _alone:
        if not schema.validate(root):
            said = "; ".join(complaint.message for complaint in schema.error_log)  # libvirt tells them all, too
            raise BadSpec(f"the XML is not as libvirt's schema says: {said[:_TOLD]}")
    return 0


@cache
def _schema() -> etree.RelaxNG | None:
    """The compiled schema; None where there is none, or one that is not to be read: then libvirt checks itself."""
    if not SCHEMA.is_file():
        return None
    try:
        return etree.RelaxNG(etree.parse(SCHEMA))
    except (etree.LxmlError, OSError) as error:
        log.warning("%s cannot be read, so libvirt checks itself: %s", SCHEMA, error)
        return None
