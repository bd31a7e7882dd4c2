"""Settings: their sources, their order, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from megaasr.errors import UsageError

pytest.importorskip("fastapi", reason="the server is not installed")
from megaasr.serve.settings import load_settings


def test_the_command_line_overrides_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('host = "127.0.0.2"\nport = 1\nbatch_size = 2\n')
    environment = {"MEGA_ASR_PORT": "2", "MEGA_ASR_BATCH_SIZE": "3", "HOME": "/"}
    settings = load_settings(file, environment, {"batch_size": 4, "model": None})
    assert (settings.host, settings.port, settings.batch_size) == ("127.0.0.2", 2, 4)
    assert settings.model == "small"


def test_the_memory_decides_the_batch_size_unless_that_is_set() -> None:
    options = load_settings(None, {"MEGA_ASR_MEMORY": "8GB"}, {}).model_options()
    assert (options.memory, options.batch_size, options.max_batch_size) == ("8GB", None, 8)
    options = load_settings(None, {}, {"memory": "auto", "batch_size": 8}).model_options()
    assert (options.memory, options.batch_size) == ("auto", 8)


def test_variables_hold_lists_and_truth_values() -> None:
    settings = load_settings(
        None,
        {"MEGA_ASR_CORS_ORIGINS": "https://a.org, https://b.org", "MEGA_ASR_PRELOAD": "true"},
        {},
    )
    assert settings.cors_origins == ("https://a.org", "https://b.org")
    assert settings.preload is True


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({"MEGA_ASR_PROT": "1"}, {}, "environment: unknown key prot; did you mean port"),
        ({"MEGA_ASR_PORT": "many"}, {}, "environment: port: .*integer"),
        ({}, {"port": 70000}, "command line: port: .*65535"),
        ({}, {"cors_origins": "example.org"}, "is not an origin"),
        ({}, {"tls_key": "key.pem"}, "belong together"),
    ],
)
def test_mistakes_are_named_with_their_source(
    environment: dict[str, str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings(None, environment, options)


def test_a_file_with_an_unknown_setting_is_named(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("max_uplaod_mb = 5\n")
    with pytest.raises(UsageError, match=r"server.toml: unknown key .*max_upload_mb"):
        load_settings(file, {}, {})
