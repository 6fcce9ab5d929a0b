"""Options and arguments that many commands have."""

from typing import Annotated

import typer

from . import completing

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Project = Annotated[
    str, typer.Option("--project", "-p", help="A project, by name or id.", autocompletion=completing.projects)
]
Machine = Annotated[
    str, typer.Argument(metavar="NAME", help="A machine, by name or id.", autocompletion=completing.machines)
]
SandboxArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A sandbox, by name or id.", autocompletion=completing.sandboxes)
]
EitherArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A machine or sandbox, by name or id.", autocompletion=completing.either),
]
Template = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="A template, by name or id.", autocompletion=completing.templates)
]
