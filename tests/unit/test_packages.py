"""Packages: fetched through the registries' clients, taken from the cache, checked, and read.

The clients are small programs that stand before the real ones; nothing here asks a registry.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from megaasr.errors import PackageError
from megaasr.packages import Registry, fetch_package, package_members

needs_sh = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("sh") is None,
    reason="sh, which runs the stand-ins for the clients, is missing",
)

FILES: dict[Registry, str] = {
    "debian": "words_1%3a2.0-1_all.deb",
    "pypi": "words-1.0-py3-none-any.whl",
    "npm": "words-1.0.tgz",
}
VERSIONS: dict[Registry, str] = {"debian": "1:2.0-1", "pypi": "1.0", "npm": "1.0"}
REGISTRIES = list(FILES)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others on the PATH, and before pip's among Python's modules."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def install(programs: Path, registry: Registry, script: str) -> None:
    """Let a shell script stand in for a registry's client; `arguments` gets its command line."""
    script = f'printf "%s\\n" "$*" >>"{programs}/arguments"\n{script}\n'
    if registry == "pypi":
        (programs / "client").write_text(script)
        call = ["sh", str(programs / "client")]
        (programs / "pip.py").write_text(
            f"import subprocess, sys\nsys.exit(subprocess.call({call!r} + sys.argv[1:]))\n"
        )
        return
    program = programs / {"debian": "apt-get", "npm": "npm"}[registry]
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)


def files_in(folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]


@needs_sh
@pytest.mark.parametrize("registry", REGISTRIES)
@pytest.mark.parametrize("pinned", [True, False])
def test_a_package_is_downloaded_once(
    registry: Registry, pinned: bool, programs: Path, tmp_path: Path
) -> None:
    install(programs, registry, f"printf content >'{FILES[registry]}'")
    version = VERSIONS[registry] if pinned else None
    digest = hashlib.sha256(b"content").hexdigest()
    cache = tmp_path / "cache"
    package = fetch_package(registry, "words", version, cache, sha256=digest)
    assert package.path.read_bytes() == b"content"
    assert (package.name, package.version) == ("words", VERSIONS[registry])
    assert package.sha256 == digest
    assert files_in(cache) == [
        f"{registry}/{f'words-{version}' if version else 'words'}/{FILES[registry]}"
    ]
    assert fetch_package(registry, "words", version, cache) == package
    (command,) = (programs / "arguments").read_text().splitlines()
    between = {"debian": "=", "pypi": "==", "npm": "@"}[registry]
    assert command.split()[-1] == (f"words{between}{version}" if version else "words")


@needs_sh
def test_no_code_of_a_python_package_is_run(programs: Path, tmp_path: Path) -> None:
    install(programs, "pypi", f"printf content >'{FILES['pypi']}'")
    fetch_package("pypi", "words", "1.0", tmp_path / "cache")
    assert "--only-binary :all:" in (programs / "arguments").read_text()


@needs_sh
@pytest.mark.parametrize("registry", REGISTRIES)
def test_the_clients_reason_and_the_mend_are_told(
    registry: Registry, programs: Path, tmp_path: Path
) -> None:
    install(
        programs,
        registry,
        f"printf half >'{FILES[registry]}'\n"
        "printf 'first\\nno such package\\n\\nA complete log of this run is in: x\\n' >&2\n"
        "exit 1",
    )
    cache = tmp_path / "cache"
    with pytest.raises(PackageError, match=r"words 9.*: no such package; .*put the file into") as e:
        fetch_package(registry, "words", "9", cache)
    assert str(cache) in str(e.value)
    assert ("apt-get update" in str(e.value)) == (registry == "debian")
    assert list(cache.iterdir()) == []


@needs_sh
def test_a_client_that_says_or_brings_nothing_is_an_error(programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", "exit 7")
    with pytest.raises(PackageError, match="exit status 7"):
        fetch_package("npm", "words", None, tmp_path / "cache")
    install(programs, "npm", "exit 0")
    with pytest.raises(PackageError, match="left 0 packages instead of one"):
        fetch_package("npm", "words", None, tmp_path / "cache")


@needs_sh
def test_a_client_that_hangs_is_stopped(programs: Path, tmp_path: Path) -> None:
    install(programs, "debian", "exec sleep 600")
    with pytest.raises(PackageError, match=r"more than 0\.2 s"):
        fetch_package("debian", "words", None, tmp_path / "cache", timeout_s=0.2)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_absent_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"words .*apt-get is not on the PATH"):
        fetch_package("debian", "words", None, tmp_path)
    with pytest.raises(PackageError, match=r"words .*npm is not on the PATH"):
        fetch_package("npm", "words", None, tmp_path)
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(PackageError, match=r"words .*has no pip; .*ensurepip"):
        fetch_package("pypi", "words", None, tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_sh
def test_the_file_of_a_faster_process_is_taken(programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache/npm/words"
    install(
        programs,
        "npm",
        f"printf slow >'{FILES['npm']}'\n"
        f"mkdir -p '{folder}'\nprintf fast >'{folder}/{FILES['npm']}'",
    )
    assert fetch_package("npm", "words", None, tmp_path / "cache").path.read_bytes() == b"fast"
    assert files_in(tmp_path / "cache") == ["npm/words/words-1.0.tgz"]


@needs_sh
def test_a_folder_in_the_way_is_named(programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", f"printf content >'{FILES['npm']}'")
    folder = tmp_path / "cache/npm/words"
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    with pytest.raises(PackageError, match=r"words holds no package; delete it"):
        fetch_package("npm", "words", None, tmp_path / "cache")


def test_a_package_in_the_cache_is_not_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "debian" / "words"
    folder.mkdir(parents=True)
    (folder / "words_1%3a2.0-1_all.deb").write_bytes(b"content")
    package = fetch_package("debian", "words", None, tmp_path)
    assert package.version == "1:2.0-1"
    assert package.sha256 == hashlib.sha256(b"content").hexdigest()
    (folder / "words_3_all.deb").write_bytes(b"another")
    with pytest.raises(PackageError, match=r"2 files of words .*words_3_all\.deb.*delete all but"):
        fetch_package("debian", "words", None, tmp_path)


@pytest.mark.parametrize(
    ("registry", "name", "version", "file", "read_version"),
    [
        ("debian", "words", None, "words_0.8+5pre+1-15_all.deb", "0.8+5pre+1-15"),
        ("debian", "words", "1:2.0-1", "words_1%3a2.0-1_all.deb", "1:2.0-1"),
        ("pypi", "big-words.x", "1.0", "big_words_x-1.0-py3-none-any.whl", "1.0"),
        ("pypi", "words-2", "1.0", "words-2-1.0.tar.gz", "1.0"),
        ("npm", "words-js", "1.2.1", "words-js-1.2.1.tgz", "1.2.1"),
        ("npm", "@big/words", "1.0.0-rc.1", "big-words-1.0.0-rc.1.tgz", "1.0.0-rc.1"),
    ],
)
def test_files_put_into_the_cache_by_hand_are_taken(
    registry: Registry, name: str, version: str | None, file: str, read_version: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(b"content")
    (tmp_path / f"more-{file}").write_bytes(b"of a package with a longer name")
    package = fetch_package(registry, name, version, tmp_path)
    assert (package.path, package.version) == (tmp_path / file, read_version)
    assert package.label == f"{name} {read_version}"


@needs_sh
def test_another_version_in_the_cache_is_not_taken(programs: Path, tmp_path: Path) -> None:
    install(programs, "pypi", "echo offline >&2; exit 1")
    (tmp_path / "words-1.0-py3-none-any.whl").write_bytes(b"content")
    with pytest.raises(PackageError, match=r"pip cannot fetch words 1\.1: offline"):
        fetch_package("pypi", "words", "1.1", tmp_path)


def test_another_file_is_refused_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "words-1.0.tgz"
    path.write_bytes(b"damaged")
    with pytest.raises(PackageError, match="delete it") as e:
        fetch_package("npm", "words", "1.0", tmp_path, sha256="0" * 64)
    for part in (str(path), "0" * 64, hashlib.sha256(b"damaged").hexdigest()):
        assert part in str(e.value)


def write_tar(path: Path, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("a/text.txt")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("a/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "text.txt"
        tar.addfile(link)


def test_members_are_read_from_each_kind_of_package(tmp_path: Path) -> None:
    contents = {
        "a-1.0-py3-none-any.whl": b"wheel",
        "a-1.0.zip": b"zip",
        "a-1.0.tar.gz": b"sdist",
        "a-1.0.tgz": b"npm",
    }
    for name, content in contents.items():
        if name.endswith("gz"):
            write_tar(tmp_path / name, content)
        else:
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.mkdir("a")
                archive.writestr("a/text.txt", content)
                archive.writestr("a/code.py", "no")
        assert package_members(tmp_path / name, ["*.txt"]) == {"a/text.txt": content}
        assert "a/" not in package_members(tmp_path / name, ["*"])
        with pytest.raises(PackageError, match=r"has no file \*\.rst"):
            package_members(tmp_path / name, ["*.rst"])


def test_damaged_packages_are_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "whole.tgz", os.urandom(100_000))
    complete = (tmp_path / "whole.tgz").read_bytes()
    damaged = {
        "b.zip": b"no archive",
        "b.tgz": complete[: len(complete) // 2],
        "c.tar.gz": gzip.compress(b"no tar"),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PackageError, match=f"{name}: cannot be unpacked .*delete it"):
            package_members(tmp_path / name, ["*"])


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is missing")
def test_members_are_read_from_a_debian_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: a\n"
    )
    (root / "usr").mkdir()
    (root / "usr/text").write_text("deb")
    deb = tmp_path / "a_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", root, deb], check=True, capture_output=True)
    assert package_members(deb, ["usr/*"]) == {"usr/text": b"deb"}
    deb.write_bytes(deb.read_bytes()[:100])
    with pytest.raises(PackageError, match=r"a_1_all\.deb: cannot be unpacked .*delete it"):
        package_members(deb, ["usr/*"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"dpkg-deb.* is not on the PATH"):
        package_members(deb, ["usr/*"])
