"""8-bit weights: exact arithmetic on integers, loading, and the branches of a quantised model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from megaasr.errors import UsageError
from megaasr.model import packed_int8
from megaasr.model.int8 import Int8Embedding, Int8Linear, multiplies_integers, quantize
from megaasr.model.interface import Request
from megaasr.model.loading import choose_dtype, load_model
from megaasr.model.packed_int8 import PackedInt8Linear, has_packed_products
from megaasr.model.qwen3_asr import Qwen3ASR

SHIPPED_TINY = Path(__file__).parents[2] / "src/megaasr/model/shipped/tiny"


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), columns=st.integers(1, 70))
def test_a_quantised_row_is_within_half_a_step(seed: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator) * 10 ** float(seed % 7 - 3)
    matrix[0] = 0
    integers, scales = quantize(matrix)
    assert int(integers.min()) >= -127
    error = (integers * scales - matrix).abs()
    assert bool((error <= 0.5001 * scales).all())
    assert not integers[0].any()


def test_a_linear_layer_multiplies_the_integers_exactly() -> None:
    generator = torch.Generator().manual_seed(3)
    weight, x = (torch.randn(size, generator=generator) for size in ((24, 40), (2, 5, 40)))
    layer = Int8Linear(40, 24, bias=True)
    layer.multiplies_integers = True
    integers, scales = quantize(weight)
    layer.weight.copy_(integers)
    layer.weight_scale.copy_(scales.squeeze(-1))
    bias = torch.randn(24, generator=generator)
    layer.bias = torch.nn.Parameter(bias)
    quantised_x, x_scales = quantize(x)
    product = quantised_x.double() @ integers.double().T
    expected = (product * x_scales * scales.squeeze(-1) + bias).float()
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-6)
    layer.multiplies_integers = False
    converted = x @ (integers * scales).T + bias
    torch.testing.assert_close(layer(x), converted, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not has_packed_products(), reason="torch has no FBGEMM here")
@pytest.mark.parametrize("positions", [1, 5])
@pytest.mark.parametrize("precise", [True, False])
def test_packed_layers_multiply_rows_of_7_bits(positions: int, precise: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    layer = Int8Linear(40, 3000, bias=True)  # more rows than a block
    integers, scales = quantize(torch.randn(3000, 40, generator=generator))
    layer.weight.copy_(integers)
    layer.weight_scale.copy_(scales.squeeze(-1))
    bias = torch.randn(3000, generator=generator)
    layer.bias = torch.nn.Parameter(bias)
    packed = PackedInt8Linear(layer, precise=precise)
    assert torch.equal(packed.weight, integers)
    x = torch.randn(2, positions, 40, generator=generator).double()
    x[0, 0] = 0
    x[1] *= 1e3  # every row has its own scale
    weight = integers.double() * scales.double()
    step = x.abs().amax(-1, keepdim=True) / 63 + 1e-30
    coarse = (x / step).round()
    if precise or positions == 1:
        fine = ((x / step - coarse) * 126).round()
        quantised = step * (coarse + fine / 126)
        assert float(((quantised - x) / step).abs().max()) <= 0.51 / 126
    else:
        quantised = step * coarse
    output = packed(x.float()).double()
    error = (output - (quantised @ weight.T + bias)).abs().amax(-1, keepdim=True)
    # A value that is next to the middle of two steps may be rounded the other way in float32.
    assert bool((error <= 1e-5 + 1e-3 * step * scales.max() * 127).all())
    assert output[0, 0].tolist() == bias.double().tolist()


@pytest.mark.skipif(
    multiplies_integers() or not has_packed_products(), reason="this CPU has no use for it"
)
def test_models_are_packed_where_that_is_faster(tiny: Qwen3ASR) -> None:
    kinds = {type(module) for module in tiny.model.modules()}
    assert PackedInt8Linear in kinds
    assert Int8Linear not in kinds
    assert tiny.model.get_submodule("model.audio_tower.conv_out").precise
    assert not tiny.model.lm_head.precise


@pytest.fixture(scope="module")
def tiny() -> Qwen3ASR:
    return load_model(SHIPPED_TINY, device="cpu", dtype="int8")


def test_every_linear_layer_and_the_embedding_are_quantised(tiny: Qwen3ASR) -> None:
    kinds = [type(module) for module in tiny.model.modules()]
    assert torch.nn.Linear not in kinds
    assert torch.nn.Embedding not in kinds
    head, embedding = tiny.model.lm_head, tiny.model.model.language_model.embed_tokens
    assert isinstance(head, Int8Linear | PackedInt8Linear)
    assert isinstance(embedding, Int8Embedding)
    assert torch.equal(head.weight, embedding.weight)
    assert head.weight_scale is embedding.weight_scale
    assert tiny.model.dtype == torch.float32


def test_original_checkpoints_are_quantised_too() -> None:
    folder = Path(__file__).parents[1] / "golden/original_layout"
    model = load_model(folder, device="cpu", dtype="int8").model
    assert isinstance(model.model.audio_tower.conv_out, Int8Linear | PackedInt8Linear)


def test_weights_are_those_of_the_checkpoint(tiny: Qwen3ASR) -> None:
    exact = dict(load_model(SHIPPED_TINY, device="cpu").model.named_modules())
    for name, module in tiny.model.named_modules():
        if isinstance(module, Int8Linear | PackedInt8Linear | Int8Embedding):
            scales = module.weight_scale.unsqueeze(-1)
            error = (module.weight * scales - exact[name].weight).abs()
            assert bool((error <= 0.5001 * scales).all()), name


def test_without_its_adapter_the_model_is_the_quantised_base_bit_for_bit(
    tiny: Qwen3ASR, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(SHIPPED_TINY, folder, ignore=shutil.ignore_patterns("mega-asr-merged"))
    base = load_model(folder, device="cpu", dtype="int8")
    assert tiny.has_robust_route
    assert not base.has_robust_route
    rng = np.random.default_rng(5)
    requests = [Request((0.1 * rng.standard_normal(24_000)).astype(np.float32)) for _ in range(2)]
    inputs = base.inputs(requests)
    with torch.inference_mode():
        expected = base.model(**inputs).logits
        assert torch.equal(tiny.model(**inputs).logits, expected)
    robust = replace(requests[1], route="robust")
    assert tiny.recognize([requests[0], robust])[0] == base.recognize(requests)[0]


def test_int8_is_refused_on_a_gpu() -> None:
    with pytest.raises(UsageError, match=r"int8 is for CPUs.*--device cpu"):
        choose_dtype(torch.device("cuda"), "int8")


@pytest.mark.parametrize(
    ("features", "has_fbgemm", "dtype"),
    [
        ({"amx_bf16": True, "amx_int8": True}, True, torch.bfloat16),
        ({"amx_bf16": False, "avx512_vnni": True}, False, torch.int8),
        ({"amx_bf16": False, "avx_vnni": True}, False, torch.int8),
        ({"amx_bf16": False, "avx512_vnni": False, "avx2": True}, True, torch.int8),
        ({"amx_bf16": False, "avx512_vnni": False, "avx2": True}, False, torch.float32),
    ],
)
def test_auto_is_what_the_processor_is_fast_with(
    features: dict[str, bool],
    has_fbgemm: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = {"architecture": "x86_64", **features}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: listed)
    monkeypatch.setattr(packed_int8, "has_packed_products", lambda: has_fbgemm)
    assert choose_dtype(torch.device("cpu"), "auto") == dtype
    assert choose_dtype(torch.device("cpu")) == torch.float32
    assert choose_dtype(torch.device("mps"), "auto") == choose_dtype(torch.device("mps"))
