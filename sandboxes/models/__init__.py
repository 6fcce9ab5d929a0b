"""The rows of sandboxes, by noun."""

from .run import Run
from .sandbox import Sandbox
from .template import Template, TemplateBuild

__all__ = ["Run", "Sandbox", "Template", "TemplateBuild"]
