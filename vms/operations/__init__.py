"""How operations are carried out on a node. Imported by `vms.tasks` alone."""
