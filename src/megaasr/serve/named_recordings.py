"""Recordings on the server's machine that jobs may name."""

from __future__ import annotations

from pathlib import Path

from megaasr.serve.error_responses import RequestError
from megaasr.serve.settings import ServerSettings


def path_below(settings: ServerSettings, path: str) -> Path:
    """Return a recording below the operator's folder, whatever links and dots a path contains.

    Raises:
        RequestError: 400, paths are not allowed; 404, there is no such recording.
    """
    root = settings.path_root
    if root is None:
        raise RequestError(
            400,
            "this server takes no paths; upload the recording, or ask the operator for path_root",
            param="path",
            code="paths_disabled",
        )
    missing = RequestError(
        404, f"there is no recording {path} in the folder", param="path", code="file_not_found"
    )
    try:
        resolved = (root / path).resolve(strict=True)
        if not resolved.is_relative_to(root.resolve()) or not resolved.is_file():
            raise missing
    except (OSError, ValueError) as error:
        raise missing from error
    return resolved
