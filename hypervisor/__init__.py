"""The seam to the hypervisor: plain Python, no Django. Only the two libvirt modules import libvirt."""
