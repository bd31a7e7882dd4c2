"""`mega-asr serve`: OpenAI's interfaces for transcription, over HTTP."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from megaasr.cli import options
from megaasr.cli.argument_groups import grouped
from megaasr.errors import UsageError

app = typer.Typer(add_completion=False)

ACCESS_PANEL = "Access and limits"


@dataclass(frozen=True, slots=True)
class ServerArguments:
    """The options of the server; None where an option is not given.

    All but `config`, `settings` and `new_key` have the name of a setting, see
    `megaasr.serve.settings`.
    """

    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = (
        None
    )
    port: Annotated[
        int | None, typer.Option(help="Port; 0 selects a free one [default: 8000].")
    ] = None
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings (docs/server.md).")
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting of docs/server.md: name=value; repeatable."),
    ] = None
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of jobs and journals; without one, there are none."),
    ] = None
    preload: Annotated[
        bool | None,
        typer.Option("--preload", help="Load the model before the port is opened."),
    ] = None
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="debug, info, warning or error [default: info]."),
    ] = None
    api_keys: Annotated[
        Path | None,
        typer.Option(
            help="File of API keys; without one, everybody may use the server.",
            rich_help_panel=ACCESS_PANEL,
        ),
    ] = None
    new_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Add a key for NAME to --api-keys, print it, and end.",
            rich_help_panel=ACCESS_PANEL,
        ),
    ] = None
    cors_origins: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGINS",
            help="Web pages that may use the server, such as https://example.org; separated by "
            "commas.",
            rich_help_panel=ACCESS_PANEL,
        ),
    ] = None
    max_upload_mb: Annotated[
        float | None,
        typer.Option(
            help="Largest upload in megabytes [default: 500].", rich_help_panel=ACCESS_PANEL
        ),
    ] = None
    max_requests: Annotated[
        int | None,
        typer.Option(
            help="Requests that are transcribed at the same time [default: 16].",
            rich_help_panel=ACCESS_PANEL,
        ),
    ] = None
    model: options.ModelName = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Chunks decoded at once [default: 8].", rich_help_panel=options.MODEL_PANEL
        ),
    ] = None
    device: options.Device = None
    dtype: options.Dtype = None
    memory: options.Memory = None
    engine: Annotated[
        options.EngineName | None,
        typer.Option(
            help="What runs the networks: transformers or vllm [default: transformers].",
            rich_help_panel=options.MODEL_PANEL,
        ),
    ] = None
    route: Annotated[
        options.RouteName | None,
        typer.Option(
            help="Branch that decodes a chunk, unless a request names one [default: auto].",
            rich_help_panel=options.MODEL_PANEL,
        ),
    ] = None
    threshold: options.RouterThreshold = None
    adapter: options.AdapterFolder = None
    profile: options.Profile = None
    threads: options.Threads = None
    offline: options.OfflineSetting = None
    revision: options.Revision = None

    def requested(self) -> dict[str, Any]:
        """Return the settings by name; None for those that are not given.

        Raises:
            UsageError: a value of `--set` is not of the form name=value.
        """
        requested: dict[str, Any] = {}
        for field in fields(self):
            if field.name not in ("config", "settings", "new_key"):
                value = getattr(self, field.name)
                requested[field.name] = value.value if isinstance(value, StrEnum) else value
        for entry in self.settings or ():
            name, equals, value = entry.partition("=")
            if not equals:
                raise UsageError(f"--set {entry}: write it as name=value")
            requested[name.strip()] = value
        return requested


@app.command()
@grouped
def serve(arguments: ServerArguments) -> None:
    """Serve transcription over HTTP, through OpenAI's interfaces.

    Settings come from --config, from variables such as MEGA_ASR_PORT, and from the options; later
    ones override earlier ones. The address is printed when connections are accepted.
    """
    if arguments.new_key is not None:
        _add_key(arguments.api_keys, arguments.new_key)
        return
    requested = arguments.requested()
    try:
        from megaasr.serve.http_server import HttpServer
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}: pip install 'megaasr[serve]'") from error
    from megaasr.serve.settings import load_settings

    server = HttpServer(load_settings(arguments.config, os.environ, requested))
    server.run(on_start=lambda: typer.echo(f"listening on {server.url}"))


def _add_key(path: Path | None, name: str) -> None:
    from megaasr.serve.access import add_key

    if path is None:
        raise UsageError("--new-key needs the file that it is added to: --api-keys FILE")
    typer.echo(add_key(path, name))
    typer.echo(f"{path}: keeps a hash of the key of {name}; the key itself is not kept", err=True)
