"""Which frozen networks there are; nothing here loads torch, so that they are listed at once."""

OURS = "efficientnet-lite0"
"""The one whose weights come with vtadl; a run keeps the checksum of any other's."""
TRANSFORMERS = ("vit:", "hub:")
"""How the names of Vision Transformers begin."""
BACKBONES = {
    "efficientnet-lite0": "EfficientNet-Lite0, ImageNet weights (Apache-2.0) from a package: nothing is downloaded",
    "vit:FILE": "a Vision Transformer from your safetensors file of timm's tensors (ImageNet's, DINOv2's, ...)",
    "hub:FOLDER": "a Hugging Face folder of DINOv2, DINOv3 or ViT, or such a model's name to download (extra hub)",
}
