"""Small random networks as files, for the tests of backbones: what users bring, without its size."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from vtadl.nn.vit import VisionTransformer, VitShape

SHAPE = {
    "width": 32,
    "depth": 3,
    "heads": 1,
    "patch": 16,
    "mlp_width": 40,
    "side": 3,
    "class_token": True,
    "registers": 0,
    "prefix_positions": True,
    "gated": False,
    "layer_scale": False,
    "qkv_bias": True,
}


def save_vit(path: Path, seed: int = 0, **changes) -> Path:
    """A file of timm's tensors."""
    network = VisionTransformer(VitShape(**{**SHAPE, **changes}))
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(t.shape, generator=generator) * 0.15 for name, t in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in weights.items()}, path)
    return path


def save_hub(folder: Path, kind: str, seed: int = 0, **changes):
    """A folder as Hugging Face's download makes it; returns its model."""
    import transformers

    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64}
    config = getattr(transformers, f"{kind}Config")(**{**sizes, **changes})
    model = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return model
