"""VT-ADL's published forward pass, written out literally: the slow and obvious version behind tests and benchmarks.

It takes the published parameter names. Capsules are routed by a loop over an explicit vote of each input capsule, the
mixture's parameters are expanded to (batch, patches, dimensions, components), SSIM filters five images with a full
window, and nothing is fused or left out.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DECODER = (
    (8, 16, 3, 2, 1),
    (16, 32, 9, 3, 1),
    (32, 32, 7, 5, 1),
    (32, 16, 9, 2, 0),
    (16, 8, 6, 1, 0),
    (8, 3, 11, 1, 0),
)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = width**-0.5
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = (part.reshape(b, n, self.heads, -1).transpose(1, 2) for part in self.to_qkv(x).chunk(3, dim=-1))
        attention = (torch.einsum("bhid,bhjd->bhij", q, k) * self.scale).softmax(dim=-1)
        out = torch.einsum("bhij,bhjd->bhid", attention, v)
        return self.to_out(out.transpose(1, 2).reshape(b, n, d))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class PreNorm(nn.Module):
    def __init__(self, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.fn = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class Transformer(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    Residual(PreNorm(width, Attention(width, heads))),
                    Residual(PreNorm(width, FeedForward(width, hidden))),
                ]
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for attention, feed_forward in self.layers:
            x = feed_forward(attention(x))
        return x


class Encoder(nn.Module):
    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.patch = patch
        self.pos_embedding = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width))
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.patch_to_embedding = nn.Linear(3 * patch**2, width)
        self.transformer = Transformer(width, depth, heads, hidden)

    def forward(self, images: Tensor) -> Tensor:
        patches = [
            images[:, :, y : y + self.patch, x : x + self.patch].permute(0, 2, 3, 1).flatten(1)
            for y in range(0, images.shape[2], self.patch)
            for x in range(0, images.shape[3], self.patch)
        ]
        x = self.patch_to_embedding(torch.stack(patches, dim=1))
        x = torch.cat([self.cls_token.repeat(len(x), 1, 1), x], dim=1) + self.pos_embedding
        return self.transformer(x)


class Capsules(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.W = nn.Parameter(0.01 * torch.randn(1, inputs, 512, 8))

    def forward(self, u: Tensor) -> Tensor:
        votes = torch.matmul(self.W, u[:, None, :, :, None]).squeeze(-1)  # (B, 1, inputs, 512)
        detached = votes.detach()
        logits = votes.new_zeros(votes.shape[:3])
        for _ in range(2):
            coupling = logits.softmax(dim=1)
            v = squash((coupling[..., None] * detached).sum(2))
            logits = logits + torch.matmul(detached, v[..., None]).squeeze(-1)
        coupling = logits.softmax(dim=1)
        return squash((coupling[..., None] * votes).sum(2))


def squash(s: Tensor) -> Tensor:
    length = s.norm(dim=-1, keepdim=True)
    return length**2 / (1 + length**2) * s / (length + 1e-8)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in DECODER[:-1]:
            layers += [nn.ConvTranspose2d(*layer), nn.BatchNorm2d(layer[1]), nn.ReLU(True)]
        self.decoder2 = nn.Sequential(*layers, nn.ConvTranspose2d(*DECODER[-1]), nn.Tanh())

    def forward(self, vector: Tensor) -> Tensor:
        return self.decoder2(vector)


class Autoencoder(nn.Module):
    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int, hidden: int, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.vt = Encoder(size, patch, width, depth, heads, hidden)
        self.decoder = Decoder()
        self.Digcap = Capsules((size // patch) ** 2 * width // 8)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded patches, the reconstruction vector ``(B, 1, 512)`` and the decoded images."""
        encoded = self.vt(images)[:, 1:]
        if self.training:
            encoded = encoded + self.noise * torch.randn_like(encoded)
        vector = self.Digcap(encoded.reshape(len(images), -1, 8))
        return encoded, vector, self.decoder(vector.reshape(-1, 8, 8, 8))


class Mixture(nn.Module):
    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        self.width, self.components = width, components
        self.pi = nn.Linear(width, components, bias=False)
        self.mu = nn.Linear(width, width * components, bias=False)
        self.sigma_sq = nn.Linear(width, width * components, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.clamp(x, min=torch.finfo(torch.float32).eps)
        shape = (*x.shape[:2], self.width, self.components)
        return self.pi(x).softmax(-1), self.mu(x).reshape(shape), F.softplus(self.sigma_sq(x)).reshape(shape)


def patch_nll(x: Tensor, pi: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """The published score of each patch, ``(B, N)``."""
    x = x[..., None].expand_as(mu)
    score = 0.5 * (math.log(2 * math.pi) + (log_var + (x - mu) ** 2 / torch.exp(log_var)).sum(2))
    return (pi * score).sum(-1)


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM with a full 11 x 11 window, zero padding."""
    offsets = torch.arange(11, dtype=a.dtype) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    line = line / line.sum()
    window = (line[:, None] * line[None, :])[None, None].expand(3, 1, 11, 11).contiguous()
    mu_a, mu_b = (F.conv2d(x, window, padding=5, groups=3) for x in (a, b))
    var_a = F.conv2d(a * a, window, padding=5, groups=3) - mu_a**2
    var_b = F.conv2d(b * b, window, padding=5, groups=3) - mu_b**2
    covariance = F.conv2d(a * b, window, padding=5, groups=3) - mu_a * mu_b
    numerator = (2 * mu_a * mu_b + 0.01**2) * (2 * covariance + 0.03**2)
    return (numerator / ((mu_a**2 + mu_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean()


class PublishedVtadl(nn.Module):
    """Autoencoder and mixture, under the names ``vt_ae.`` and ``mdn.``."""

    def __init__(
        self,
        *,
        size: int = 512,
        patch: int = 64,
        width: int = 512,
        depth: int = 6,
        heads: int = 8,
        hidden: int = 1024,
        components: int = 10,
        noise: float = 0.2,
    ) -> None:
        super().__init__()
        self.vt_ae = Autoencoder(size, patch, width, depth, heads, hidden, noise)
        self.mdn = Mixture(width, components)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The decoded images and the score of each patch."""
        encoded, _, decoded = self.vt_ae(images)
        return decoded, patch_nll(encoded, *self.mdn(encoded))

    def loss(self, images: Tensor) -> Tensor:
        decoded, score = self(images)
        mse = F.mse_loss(decoded, images)
        return 5 * mse - 0.5 * structural_similarity(decoded, images) + score.sum(1).mean()
