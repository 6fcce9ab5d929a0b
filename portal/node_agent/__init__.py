"""The node agent: registers its host, listens to libvirt, compares, mends, and rings for what waits."""
