"""Losses of 20 LoRA steps by PyTorch, for src/train/lora_steps_test.cc: the tiny random Llama of
tests/golden/model/llama3 under an adapter on all seven matrices, AdamW with decay, warm-up and cosine, clipping that
is active at some of the steps, two micro-batches of three packed sequences a step, losses on the answers only.

usage: tools/golden/lora_steps.py TINY OUT     TINY: tests/golden/model/llama3; OUT: tests/golden/lora/steps.safetensors
needs: torch, transformers, safetensors
"""
import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

STEPS, WARMUP, ACCUMULATION, PACKED, CYCLE = 20, 2, 2, 3, 4  # the same batches come again after CYCLE steps
LR, FLOOR, CLIP, DECAY = 0.02, 0.1, 1.7, 0.05
RANK, ALPHA = 4, 8.0
TARGETS = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn",
           "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}


class LoraLinear(torch.nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base
        self.a = torch.nn.Parameter(torch.randn(RANK, base.in_features) / math.sqrt(base.in_features))
        self.b = torch.nn.Parameter(0.05 * torch.randn(base.out_features, RANK))

    def forward(self, x):
        return self.base(x) + ALPHA / RANK * (x @ self.a.T) @ self.b.T


def rate(step):
    if step <= WARMUP:
        return LR * step / WARMUP
    return LR * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


def sequence(vocab):
    length = int(torch.randint(8, 24, ()))
    return int(torch.randint(1, length - 2, ())), torch.randint(0, vocab, (length,))


def main(tiny, out):
    torch.manual_seed(3)
    config = transformers.AutoConfig.from_pretrained(tiny, attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config).float()
    model.load_state_dict(load_file(tiny / "model.safetensors"))
    for p in model.parameters():
        p.requires_grad_(False)
    factors = {}
    for index, layer in enumerate(model.model.layers):
        for name, group in TARGETS.items():
            lora = LoraLinear(getattr(getattr(layer, group), name))
            setattr(getattr(layer, group), name, lora)
            factors[f"layers.{index}.{name}.a"] = lora.a
            factors[f"layers.{index}.{name}.b"] = lora.b
    tensors = {k: v.detach().clone() for k, v in factors.items()}
    optimizer = torch.optim.AdamW(factors.values(), lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY)
    batch = ACCUMULATION * PACKED
    sequences = [sequence(config.vocab_size) for _ in range(CYCLE * batch)]
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        total, count = 0.0, 0
        begin = (step - 1) % CYCLE * batch
        for first, ids in sequences[begin:begin + batch]:
            logits = model(ids[None]).logits[0]
            loss = torch.nn.functional.cross_entropy(logits[first - 1:-1], ids[first:], reduction="sum")
            loss.backward()
            total, count = total + loss.item(), count + len(ids) - first
        for p in factors.values():
            p.grad /= count
        norms.append(float(torch.nn.utils.clip_grad_norm_(factors.values(), CLIP)))
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total / count)
    assert min(norms) < CLIP < max(norms), norms
    tensors |= {"losses": torch.tensor(losses), "norms": torch.tensor(norms),
                "lengths": torch.tensor([len(ids) for _, ids in sequences], dtype=torch.int32),
                "first_targets": torch.tensor([first for first, _ in sequences], dtype=torch.int32),
                "ids": torch.cat([ids for _, ids in sequences]).int()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out)
    print("losses", [round(x, 4) for x in losses])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
