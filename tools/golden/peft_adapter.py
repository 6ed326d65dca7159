"""Makes tests/golden/peft_tiny, an adapter saved by PEFT itself, or loads one that offbook wrote.

    python3 tools/golden/peft_adapter.py make tests/golden/peft_tiny
    python3 tools/golden/peft_adapter.py load DIRECTORY

Needs torch, transformers and peft. `load` prints the sum of every pair that PEFT took over.
"""
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def base():
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, max_position_embeddings=64))


def make(directory):
    config = LoraConfig(r=2, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base(), config)
    with torch.no_grad():
        for start, (name, p) in enumerate((n, p) for n, p in model.named_parameters() if "lora_" in n):
            p.copy_(torch.arange(p.numel()).reshape(p.shape) + 100.0 * start)
            print(name, 100 * start)
    model.save_pretrained(directory)


def load(directory):
    model = PeftModel.from_pretrained(base(), directory)
    for name, p in model.named_parameters():
        if "lora_" in name:
            print(name, p.double().sum().item())


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](sys.argv[2])
