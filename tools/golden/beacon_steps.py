"""Losses of 20 beacon training steps by PyTorch, for src/compress/beacon/steps_test.cc: the tiny random Llama of
tests/golden/model/llama3, a writer under an adapter on all seven matrices, two ratios, segments alone and behind
their prior, continuation and two recalled spans, AdamW with warm-up, cosine and clipping.

usage: tools/golden/beacon_steps.py TINY OUT   TINY: tests/golden/model/llama3; OUT: tests/golden/beacon/steps.safetensors
needs: torch, transformers, safetensors
"""
import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

STEPS, WARMUP, LR, FLOOR, CLIP = 20, 2, 0.02, 0.1, 1.0
RANK, ALPHA = 4, 8.0
RATIOS, LAYOUTS = (4, 8), ([24], [16, 8], [10, 14])
CONTINUATION, SPANS, SPAN, CUE, RECALL, SINK = 12, 2, 8, 2, 9, 0
TARGETS = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn",
           "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}
writes = False  # is the adapter on


class LoraLinear(torch.nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base
        self.a = torch.nn.Parameter(torch.randn(RANK, base.in_features) / math.sqrt(base.in_features))
        self.b = torch.nn.Parameter(0.05 * torch.randn(base.out_features, RANK))

    def forward(self, x):
        return self.base(x) + ALPHA / RANK * (x @ self.a.T) @ self.b.T if writes else self.base(x)


def run(model, x, past):
    """x [1, n, hidden] behind `past`, a list of (keys before RoPE, values) a layer at places 0, 1, …."""
    c = model.config
    n, before = x.shape[1], past[0][0].shape[1] if past else 0
    cos, sin = model.model.rotary_emb(x, torch.arange(before + n)[None])
    mask = torch.full((n, before + n), -math.inf).triu(before + 1)
    new = []
    for i, layer in enumerate(model.model.layers):
        h = layer.input_layernorm(x)
        at = layer.self_attn
        q, k, v = (f(h).view(1, n, -1, c.head_dim) for f in (at.q_proj, at.k_proj, at.v_proj))
        new.append((k, v))
        if past:
            k, v = torch.cat([past[i][0], k], 1), torch.cat([past[i][1], v], 1)
        keys = apply_rotary_pos_emb(k.transpose(1, 2), k.transpose(1, 2), cos, sin)[1]
        queries = apply_rotary_pos_emb(q.transpose(1, 2), q.transpose(1, 2), cos[:, before:], sin[:, before:])[0]
        group = c.num_attention_heads // c.num_key_value_heads
        keys, values = keys.repeat_interleave(group, 1), v.transpose(1, 2).repeat_interleave(group, 1)
        weights = (queries @ keys.transpose(2, 3) / math.sqrt(c.head_dim) + mask).softmax(-1)
        x = x + at.o_proj((weights @ values).transpose(1, 2).reshape(1, n, -1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.model.norm(x), new


def write(model, extras, ids, ratio, past):
    """Keys and values of (the sink and) the slots of one segment."""
    global writes
    table = model.model.embed_tokens.weight
    rows, keep = [], []
    if past is None:
        keep.append(0)
        rows.append(table[SINK])
    for begin in range(0, len(ids), ratio):
        closed = table[ids[begin:begin + ratio]]
        rows += list(closed)
        keep.append(len(rows))
        rows.append(extras["slot.vectors"][RATIOS.index(ratio)] + extras["slot.pool"] * closed.mean(0))
    writes = True
    _, kv = run(model, torch.stack(rows)[None], past)
    writes = False
    return [(k[:, keep], v[:, keep]) for k, v in kv]


def join(a, b):
    return [(torch.cat([ka, kb], 1), torch.cat([va, vb], 1)) for (ka, va), (kb, vb) in zip(a, b)]


def window_loss(model, extras, w):
    memory, at = None, 0
    for length in w["layout"]:
        kv = write(model, extras, w["tokens"][at:at + length], w["ratio"], memory if w["prior"] else None)
        if memory is not None and not w["prior"]:
            kv = [(k[:, 1:], v[:, 1:]) for k, v in kv]  # one sink
        memory = kv if memory is None else join(memory, kv)
        at += length

    def losses(ids, first):
        hidden, _ = run(model, model.model.embed_tokens(ids)[None], memory)
        logits = model.lm_head(hidden)[0]
        return torch.nn.functional.cross_entropy(logits[first - 1:-1], ids[first:], reduction="none")
    continuation = losses(w["tokens"][at:], 1)
    recalled = [losses(torch.cat([torch.tensor([RECALL]), w["tokens"][b:b + SPAN - 1]]), CUE + 1) for b in w["recalls"]]
    return continuation.mean() + torch.cat(recalled).mean()


def rate(step):
    if step <= WARMUP:
        return LR * step / WARMUP
    return LR * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


def draw(step, vocab):
    layout = LAYOUTS[step % len(LAYOUTS)]
    context = sum(layout)
    return {"tokens": torch.randint(0, vocab, (context + CONTINUATION,)), "layout": layout, "ratio": RATIOS[step // 2 % 2],
            "prior": step % 4 >= 2, "recalls": torch.randint(0, context - SPAN + 2, (SPANS,)).tolist()}


def main(tiny, out):
    torch.manual_seed(5)
    config = transformers.AutoConfig.from_pretrained(tiny, attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config).float()
    model.load_state_dict(load_file(tiny / "model.safetensors"))
    for p in model.parameters():
        p.requires_grad_(False)
    trained = {}
    for index, layer in enumerate(model.model.layers):
        for name, group in TARGETS.items():
            lora = LoraLinear(getattr(getattr(layer, group), name))
            setattr(getattr(layer, group), name, lora)
            trained[f"layers.{index}.{name}.a"], trained[f"layers.{index}.{name}.b"] = lora.a, lora.b
    trained["slot.vectors"] = torch.nn.Parameter(0.5 * torch.randn(len(RATIOS), config.hidden_size))
    trained["slot.pool"] = torch.nn.Parameter(torch.tensor([0.3]))
    tensors = {k: v.detach().clone() for k, v in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    windows = [draw(i % 6, config.vocab_size) for i in range(STEPS)]  # every layout with every mode
    losses = []
    for step, w in enumerate(windows, 1):
        loss = window_loss(model, trained, w)
        loss.backward()
        for p in trained.values():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        torch.nn.utils.clip_grad_norm_(trained.values(), CLIP)
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    tensors |= {"losses": torch.tensor(losses), "tokens": torch.cat([w["tokens"] for w in windows]).int(),
                "layouts": torch.tensor([(w["layout"] + [0])[:2] for w in windows], dtype=torch.int32),
                "ratios": torch.tensor([w["ratio"] for w in windows], dtype=torch.int32),
                "priors": torch.tensor([int(w["prior"]) for w in windows], dtype=torch.int32),
                "recalls": torch.tensor([w["recalls"] for w in windows], dtype=torch.int32)}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out)
    print("losses", [round(x, 4) for x in losses])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
