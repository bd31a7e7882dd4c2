from __future__ import annotations

import json
from pathlib import Path

import pytest

from megaasr.errors import TrainingError, UsageError
from megaasr.folder_claim import FolderClaim, locked_folder


def claim_of(folder: Path, outputs: str | None = None) -> FolderClaim:
    return FolderClaim(folder, "inputs.json", "holds results of another model", outputs)


def test_the_first_run_writes_the_description_as_it_stands(tmp_path: Path) -> None:
    claim = claim_of(tmp_path / "new" / "run")
    assert claim.read() is None
    claim.claim('{"model": "tiny",\n "seed": 1}')
    assert claim.path.read_text() == '{"model": "tiny",\n "seed": 1}'
    assert claim.read() == {"model": "tiny", "seed": 1}


def test_the_same_inputs_may_go_on_whatever_the_layout_of_the_file(tmp_path: Path) -> None:
    claim = claim_of(tmp_path)
    claim.claim('{"seed": 1, "model": "tiny"}')
    claim.claim('{\n  "model": "tiny",\n  "seed": 1\n}')
    assert claim.path.read_text() == '{"seed": 1, "model": "tiny"}'


def test_a_refusal_names_every_field_that_differs(tmp_path: Path) -> None:
    claim = claim_of(tmp_path)
    claim.claim(json.dumps({"model": "tiny", "noise": {"folder": "a", "gain_db": 3}}))
    with pytest.raises(UsageError) as caught:
        claim.claim(json.dumps({"model": "small", "noise": {"folder": "b", "gain_db": 3}}))
    assert str(caught.value) == (
        f"{tmp_path} holds results of another model: model is tiny there and small now; "
        f"noise.folder is a there and b now (see {claim.path}); choose another folder, or delete "
        "this one"
    )


def test_foreign_results_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "clips.tar").touch()
    with pytest.raises(UsageError, match=r"holds clips\.tar, but no inputs\.json"):
        claim_of(tmp_path, "*.tar").claim("{}")
    claim_of(tmp_path).claim("{}")
    claim_of(tmp_path, "*.tar").claim("{}")


@pytest.mark.parametrize(("text", "reason"), [("{", "is damaged"), ("[]", "not a JSON object")])
def test_a_marker_that_cannot_be_read_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    claim = FolderClaim(tmp_path, "inputs.json", "holds a run", error=TrainingError)
    claim.path.write_text(text)
    with pytest.raises(TrainingError, match=rf"inputs\.json .*{reason}"):
        claim.claim("{}")
    assert claim.path.read_text() == text


def test_a_locked_folder_is_one_process_s(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        locked_folder(tmp_path, TrainingError),
        pytest.raises(TrainingError, match="another process is at work in"),
        locked_folder(tmp_path, TrainingError),
    ):
        pass
    with locked_folder(tmp_path, TrainingError):
        pass
