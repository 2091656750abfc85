"""`jobhost completion`."""

from __future__ import annotations

import os
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from .lazy import examples

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=examples(
        'eval "$(jobhost completion bash)"      # in ~/.bashrc',
        'eval "$(jobhost completion zsh)"       # in ~/.zshrc',
        "jobhost completion fish > ~/.config/fish/completions/jobhost.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def command(context: click.Context, shell: str | None) -> None:
    """Print the script that lets a shell complete verbs, options and states. Default: the shell that $SHELL names."""
    shell = shell or PurePath(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise click.UsageError(f"which shell? Write one of: {', '.join(SHELLS)}")
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root().command
    # Not `source`'s check of bash's version, which starts a bash: the script is good for any that is not ancient.
    complete = kind(root, {}, "jobhost", "_JOBHOST_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
