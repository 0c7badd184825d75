"""
LoRA: nothing changes at the start, a gradient reaches the adapter alone, a merge computes the same, every row uses its
own adapter, and PEFT reads and writes the same files with equal outputs.
"""

import copy
import json

import pytest
import torch
import torch.nn as nn

from gpt.engine import Engine
from gpt.kinds import build
from gpt.llama import Config
from gpt.model import GPTConfig
from lora import peft_format
from lora.lora import (LoRAConfig, groups, inject, layers, load_state, merge, parameters, remove, state, strip,
                       unmerge)
from lora.peft_format import AdapterError, base_hash

SHAPES = {"llama": Config(vocab_size=64, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, n_hidden=48, context=64),
          "qwen3": Config(vocab_size=64, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, n_hidden=48, context=64,
                          qk_norm=True, tie=False),
          "gpt2": GPTConfig(vocab_size=64, n_layer=2, n_head=4, n_embd=32, block_size=64)}
VARIANTS = {"lora": LoRAConfig(4), "rslora": LoRAConfig(4, rslora=True), "dora": LoRAConfig(4, dora=True)}


def make(kind="llama", dtype=torch.float64, seed=0):
    """A model with weights that are nowhere zero."""
    torch.manual_seed(seed)
    model = build(SHAPES[kind])
    for p in model.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return model.to(dtype).eval()


def excite(model, name="default", seed=1):
    """Random numbers where an adapter starts at zero, so that it says something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in layers(model):
            adapter = layer.adapters[name]
            adapter.B.add_(0.1 * torch.randn(adapter.B.shape, generator=generator, dtype=torch.float64).to(adapter.B))
            if adapter.m is not None:
                adapter.m.mul_(1.1)


IDX = torch.randint(64, (3, 9), generator=torch.Generator().manual_seed(5))

# ---------------------------------------------------------------------------- the layer


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_changes_at_the_start(kind, variant):
    model = make(kind)
    want = model(IDX)[0]
    inject(model, VARIANTS[variant])
    torch.testing.assert_close(model(IDX)[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_layer_is_its_equation(variant):
    """y = W'x with the whole matrix W' written out: W + scale BA, in DoRA scaled row by row to the length m."""
    config = VARIANTS[variant]
    model = make()
    inject(model, config)
    excite(model)
    layer = model.model.layers[0].self_attn.q_proj
    adapter, x = layer.adapters["default"], torch.randn(5, 32, dtype=torch.float64)
    total = layer.base.weight + {"lora": 16 / 4, "rslora": 16 / 2, "dora": 16 / 4}[variant] * adapter.B @ adapter.A
    if variant == "dora":
        total = adapter.m[:, None] * total / total.pow(2).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(layer(x), x @ total.t(), rtol=0, atol=1e-12)


def test_equation_has_teeth():
    """alpha/r and alpha/sqrt(r) are told apart, and so is DoRA without its division."""
    outputs = []
    for config in VARIANTS.values():
        model = make()
        inject(model, config, generator=torch.Generator().manual_seed(2))
        excite(model)
        outputs.append(model(IDX)[0])
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(outputs) for b in outputs[:i])


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_the_adapter_alone(variant):
    """Every tensor of the adapter has the gradient of the written-out matrix; no weight of the base has any."""
    model = make()
    inject(model, VARIANTS[variant])
    excite(model)
    model(IDX, IDX)[1].backward()
    own = {id(p) for p in parameters(model)}
    for name, p in model.named_parameters():
        assert (p.grad is not None and bool(p.grad.any())) == (id(p) in own), name
    layer = model.model.layers[0].mlp.up_proj
    adapter, x = layer.adapters["default"], torch.randn(6, 32, dtype=torch.float64)
    dy = torch.randn(6, 48, dtype=torch.float64)
    mine = torch.autograd.grad(layer(x), list(adapter.parameters()), dy)
    A, B = (w.detach().clone().requires_grad_() for w in (adapter.A, adapter.B))
    total = layer.base.weight + adapter.config.scale * B @ A
    leaves = [A, B]
    if adapter.m is not None:
        m = adapter.m.detach().clone().requires_grad_()
        total, leaves = m[:, None] * total / total.detach().norm(dim=1, keepdim=True), [A, B, m]
    wanted = torch.autograd.grad(x @ total.t(), leaves, dy)
    for name, a, b in zip("ABm"[:len(leaves)], mine, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda text: f"d{name}: {text}")


def test_dropout_is_of_what_goes_into_A():
    model = make()
    inject(model, LoRAConfig(4, dropout=0.5))
    excite(model)
    model.train()
    a, b = model(IDX)[0], model(IDX)[0]
    assert not torch.equal(a, b)
    model.select(None)
    assert torch.equal(model(IDX)[0], model(IDX)[0])


def test_lora_plus_groups():
    model = make()
    inject(model, VARIANTS["dora"])
    (slow, one), (fast, ratio) = groups(model, ratio=16.0)
    assert (one, ratio) == (1.0, 16.0)
    assert {id(p) for p in slow + fast} == {id(p) for p in parameters(model)}
    assert all(p.shape[-1] == 4 and not p.any() for p in fast)


# ---------------------------------------------------------------------------- injection

@pytest.mark.parametrize("kind", SHAPES)
def test_report_names_every_layer(kind):
    """Adapted and left together are all modules with weights; a linear layer is never missing from both."""
    model = make(kind)
    weighted = {n for n, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    report = inject(model, LoRAConfig(4))
    assert set(report["adapted"]) | set(report["left"]) == weighted
    assert len(report["adapted"]) == 2 * (4 if kind == "gpt2" else 7)
    kept = "norm", "ln_", "embed", "lm_head", "wte", "wpe"
    assert all(any(word in name for word in kept) for name in report["left"])


def test_a_target_left_out_is_reported():
    report = inject(make(), LoRAConfig(4, targets=("q_proj", "v_proj")))
    assert len(report["adapted"]) == 4 and "model.layers.1.mlp.up_proj" in report["left"]


@pytest.mark.parametrize("targets, why", [(("nothing",), "no linear layer")])
def test_what_cannot_be_adapted(targets, why):
    model = make()
    names = [n for n, _ in model.named_parameters()]
    with pytest.raises(ValueError, match=why):
        inject(model, LoRAConfig(4, targets=targets))
    assert names == [n for n, _ in model.named_parameters()]


def test_a_name_is_taken_once():
    model = make()
    inject(model, LoRAConfig(4))
    with pytest.raises(ValueError, match="already"):
        inject(model, LoRAConfig(2))


def test_wrong_configuration():
    for wrong in (dict(rank=0), dict(dropout=1.0), dict(targets=())):
        with pytest.raises(ValueError):
            LoRAConfig(**wrong)


def test_state_goes_back():
    a, b = make(), make()
    for model in (a, b):
        inject(model, VARIANTS["dora"])
    excite(a)
    load_state(b, state(a))
    assert torch.equal(a(IDX)[0], b(IDX)[0])
    with pytest.raises(ValueError, match="differs"):
        load_state(b, {k: w for k, w in state(a).items() if "q_proj" not in k})


def test_remove_and_strip():
    model = make()
    want, names = model(IDX)[0], [n for n, _ in model.named_parameters()]
    inject(model, LoRAConfig(4))
    excite(model)
    remove(model)
    assert torch.equal(model(IDX)[0], want)
    strip(model)
    assert [n for n, _ in model.named_parameters()] == names and torch.equal(model(IDX)[0], want)
    model.select([None])                                     # the class's own, which does nothing


# ---------------------------------------------------------------------------- merging

@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.15),
                                         (torch.float16, 0.02)], ids=str)
def test_merge(variant, dtype, atol):
    """
    Merged equals unmerged to rounding: about 30 sums of order one a layer, in eps of the type (float32 1e-7, half
    5e-4, bfloat16 4e-3), through two blocks. Unmerged again, every bit of the base is back.
    """
    model = make(dtype=dtype)
    before = base_hash(model)
    inject(model, VARIANTS[variant])
    plain = model(IDX)[0]
    excite(model)
    want = model(IDX)[0]
    merge(model)
    got = model(IDX)[0]
    torch.testing.assert_close(got, want, rtol=0, atol=atol)
    assert (got - plain).abs().max() > 2 * atol              # the adapter says more than the tolerance
    unmerge(model)
    assert base_hash(model) == before


def test_merged_twice():
    model = make()
    inject(model, LoRAConfig(4))
    merge(model)
    with pytest.raises(ValueError, match="unmerge"):
        merge(model)


def test_merged_and_stripped_is_a_plain_model():
    model = make()
    inject(model, LoRAConfig(4))
    excite(model)
    want = model(IDX)[0]
    merge(model)
    strip(model)
    other = make(seed=9)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(IDX)[0], want, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------- several adapters

def two(kind="llama"):
    model = make(kind)
    for seed, name in enumerate(("code", "science"), 1):
        inject(model, LoRAConfig(4 * seed), name)
        excite(model, name, seed)
    return model


@pytest.mark.parametrize("kind", SHAPES)
def test_every_row_uses_its_adapter(kind):
    model, rows = two(kind), ["science", None, "code"]
    model.select(rows)
    got = model(IDX)[0]
    for row, name in enumerate(rows):
        model.select(name)
        torch.testing.assert_close(got[row:row + 1], model(IDX[row:row + 1])[0], rtol=0, atol=1e-12)
        model.select(rows[row - 1])
        assert (got[row:row + 1] - model(IDX[row:row + 1])[0]).abs().max() > 1e-3     # and not its neighbour's


def test_one_does_not_train_the_other():
    model = two()
    model.select("code")
    for p in parameters(model, "science") + parameters(model, "code"):
        p.requires_grad_(True)
    model(IDX, IDX)[1].backward()
    assert all(p.grad is None for p in parameters(model, "science"))
    assert all(p.grad is not None for p in parameters(model, "code"))


def test_a_copy_selects_for_itself():
    model = two()
    other = copy.deepcopy(model)
    model.select("code")
    other.select(None)
    assert (model(IDX)[0] - other(IDX)[0]).abs().max() > 1e-3


class Letters:
    specials = {n: i for i, n in enumerate(("<|end|>", "<|bos|>", "<CALC>", "</CALC>", "<TOOL>", "</TOOL>", "<RESULT>",
                                            "</RESULT>"))}
    n_vocab = 64


def test_engine_serves_adapters_in_one_batch():
    """Each reply is the one that its adapter writes alone."""
    model, prompts = two(), [[11, 12, 13], [11, 12, 13], [20, 21], [30]]
    names = ["code", "science", None, "code"]
    together = Engine(model, Letters(), slots=4)
    replies = [together.submit(p, 12, adapter=n) for p, n in zip(prompts, names)]
    while together.busy:
        together.step()
    for prompt, name, reply in zip(prompts, names, replies):
        alone = Engine(model, Letters(), slots=1)
        single = alone.submit(prompt, 12, adapter=name)
        while alone.busy:
            alone.step()
        assert single.ids == reply.ids
    assert replies[0].ids != replies[1].ids


# ---------------------------------------------------------------------------- PEFT's files

def test_files_go_back(tmp_path):
    a, b = make(dtype=torch.float32), make(dtype=torch.float32)
    inject(a, VARIANTS["dora"])
    excite(a)
    peft_format.save(a, tmp_path)
    report = peft_format.load(b, tmp_path, "mine")
    assert len(report["adapted"]) == 14
    assert torch.equal(a(IDX)[0], b(IDX)[0])


def test_another_base_is_refused(tmp_path):
    a, b = make(), make(seed=1)
    inject(a, LoRAConfig(4))
    peft_format.save(a, tmp_path)
    with pytest.raises(AdapterError, match="was trained on the model"):
        peft_format.load(b, tmp_path)
    assert not layers(b)


@pytest.mark.parametrize("change, why", [({"bias": "all"}, "bias"), ({"peft_type": "IA3"}, "IA3"),
                                         ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
                                         ({"r": 5}, "does not fit"), ({"target_modules": ["nothing"]}, "does not fit")],
                         ids=str)
def test_what_we_do_not_compute_is_refused(tmp_path, change, why):
    model = make()
    inject(model, LoRAConfig(4))
    peft_format.save(model, tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(AdapterError, match=why):
        peft_format.load(make(), tmp_path)


def test_no_adapter_there(tmp_path):
    with pytest.raises(AdapterError, match="no adapter in"):
        peft_format.load(make(), tmp_path)


def hugging_face(model, folder):
    """The same model in transformers, through our own export."""
    transformers = pytest.importorskip("transformers")
    from gpt import hf
    from safetensors.torch import save_file
    weights = {n: w.contiguous() for n, w in model.state_dict().items()
               if n != "lm_head.weight" or not model.config.tie}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf.to_json(model.config)))
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.peer
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ("llama", "qwen3"))
def test_peft_loads_ours(tmp_path, kind, variant):
    """float32 through two blocks: 1e-5."""
    peft = pytest.importorskip("peft")
    ours = make(kind, torch.float32)
    (tmp_path / "base").mkdir()
    theirs = hugging_face(ours, tmp_path / "base")
    inject(ours, VARIANTS[variant])
    excite(ours)
    peft_format.save(ours, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    torch.testing.assert_close(theirs(IDX).logits, ours(IDX)[0], rtol=0, atol=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize("variant", VARIANTS)
def test_we_load_pefts(tmp_path, variant):
    peft = pytest.importorskip("peft")
    ours = make("llama", torch.float32)
    (tmp_path / "base").mkdir()
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"],
                             task_type="CAUSAL_LM", use_rslora=variant == "rslora", use_dora=variant == "dora")
    theirs = peft.get_peft_model(hugging_face(ours, tmp_path / "base"), config).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.1)
    theirs.save_pretrained(tmp_path / "adapter")
    report = peft_format.load(ours, tmp_path / "adapter")
    assert len(report["adapted"]) == 6
    torch.testing.assert_close(ours(IDX)[0], theirs(IDX).logits, rtol=0, atol=1e-5)

