"""What workers do for templates and sandboxes: handlers of steps, found through settings.OPERATION_HANDLERS."""
