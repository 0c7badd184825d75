"""
Adapters on what goes in and out of a model: the embedding, and the head that may share its weights.
"""

import pytest
import torch

from lora import peft_format
from lora.lora import EMBEDDING, LLAMA, LoRAConfig, inject, layers, merge, parameters, remove, state, unmerge
from lora.peft_format import base_hash
from tests.test_lora import IDX, hugging_face, make

CONFIG = LoRAConfig(4, targets=LLAMA + EMBEDDING)


def adapted(kind="llama", dtype=torch.float64, config=CONFIG, name="default", seed=1):
    """A model with an adapter none of whose numbers is zero."""
    model = make(kind, dtype)
    inject(model, config, name)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters(model, name):
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", ("llama", "qwen3"))
def test_nothing_changes_at_the_start(kind):
    model = make(kind)
    want = model(IDX)[0]
    report = inject(model, CONFIG)
    assert {"model.embed_tokens", "lm_head"} < set(report["adapted"])
    torch.testing.assert_close(model(IDX)[0], want, rtol=0, atol=1e-12)


def test_it_is_its_equation():
    """The rows of W + scale (B A)', and the gradients of both matrices through them."""
    model = adapted()
    layer = model.model.embed_tokens
    adapter, dy = layer.adapters["default"], torch.randn(3, 9, 32, dtype=torch.float64)
    A, B = (p.detach().clone().requires_grad_() for p in (adapter.A, adapter.B))
    want = (layer.base.weight + 4.0 * (B @ A).T)[IDX]
    torch.testing.assert_close(layer(IDX), want, rtol=0, atol=1e-12)
    mine, theirs = torch.autograd.grad(layer(IDX), [adapter.A, adapter.B], dy), torch.autograd.grad(want, [A, B], dy)
    for name, a, b in zip("AB", mine, theirs):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda text: f"d{name}: {text}")
    wrong = (layer.base.weight + 4.0 / 2 * (B @ A).T)[IDX]
    assert (layer(IDX) - wrong).abs().max() > 1e-3           # half the scale is told apart


def test_embedding_and_head_learn_apart():
    """They share the base's weights, and these stay; their adapters are two."""
    model = adapted()
    model(IDX, IDX)[1].backward()
    embedding, head = (layer.adapters["default"].B.grad for layer in (model.model.embed_tokens, model.lm_head))
    assert embedding.any() and head.any() and embedding.shape != head.shape
    assert model.lm_head.weight is model.model.embed_tokens.weight and model.lm_head.weight.grad is None


def test_every_row_uses_its_adapter():
    model = adapted(name="code")
    inject(model, LoRAConfig(2, targets=EMBEDDING), "science")
    with torch.no_grad():
        for p in parameters(model, "science"):
            p.normal_(0, 0.1)
    rows = ["science", None, "code"]
    model.select(rows)
    got = model(IDX)[0]
    for row, name in enumerate(rows):
        model.select(name)
        torch.testing.assert_close(got[row:row + 1], model(IDX[row:row + 1])[0], rtol=0, atol=1e-12)


def test_merge():
    model = adapted("qwen3")                                 # its head has weights of its own
    before, want = base_hash(model), model(IDX)[0]
    merge(model)
    torch.testing.assert_close(model(IDX)[0], want, rtol=0, atol=1e-12)
    unmerge(model)
    assert base_hash(model) == before


def test_shared_weights_are_not_merged():
    model = adapted("llama")
    before = base_hash(model)
    with pytest.raises(ValueError, match="two layers"):
        merge(model)
    assert base_hash(model) == before


def test_a_fused_head_is_refused():
    model = make()
    model.head_loss = lambda x, weight, targets: x.sum()
    with pytest.raises(ValueError, match="without head_loss"):
        inject(model, CONFIG)


@pytest.mark.parametrize("kind", ("llama", "qwen3"))
def test_files_go_back(tmp_path, kind):
    pytest.importorskip("safetensors")
    model = adapted(kind)
    peft_format.save(model, tmp_path)
    want, kept = model(IDX)[0], state(model)
    remove(model)
    peft_format.load(model, tmp_path, "again")
    torch.testing.assert_close(model(IDX)[0], want, rtol=0, atol=1e-12)
    assert all(torch.equal(kept[key], p) for key, p in state(model, "again").items())


@pytest.mark.peer
@pytest.mark.parametrize("kind", ("llama", "qwen3"))
def test_peft_loads_ours(tmp_path, kind):
    """float32 through two blocks: 1e-5."""
    peft = pytest.importorskip("peft")
    (tmp_path / "base").mkdir()
    theirs = hugging_face(make(kind, torch.float32), tmp_path / "base")
    ours = adapted(kind, torch.float32)
    peft_format.save(ours, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    torch.testing.assert_close(theirs(IDX).logits, ours(IDX)[0], rtol=0, atol=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize("kind", ("llama", "qwen3"))
def test_we_load_pefts(tmp_path, kind):
    peft = pytest.importorskip("peft")
    ours = make(kind, torch.float32)
    (tmp_path / "base").mkdir()
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "embed_tokens", "lm_head"],
                             task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(hugging_face(ours, tmp_path / "base"), config).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.normal_(std=0.1)
    theirs.save_pretrained(tmp_path / "adapter")
    assert len(peft_format.load(ours, tmp_path / "adapter")["adapted"]) == 4
    torch.testing.assert_close(ours(IDX)[0], theirs(IDX).logits, rtol=0, atol=1e-5)
    assert all(layer.adapters["default"].A.any() for _, layer in layers(ours))
