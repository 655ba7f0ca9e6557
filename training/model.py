"""The training model: Phi-3-vision in miniature, in plain PyTorch, its tensors named as in the published checkpoints.

Letters: N crops, L patches of a crop (class token left out), C vision width, S positions a side of a crop after joining
2x2 patches, h x w the grid of crops, T tokens of concatenated conversations, D decoder width. `DenseHead`
is not part of `Phi3V`: it exists only for training and is not exported. This module knows nothing of questions, files
or schedules.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORE = -100  # what cross_entropy ignores


@dataclass(frozen=True)
class ModelConfig:
    crop_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_mlp: int
    width: int
    layers: int
    heads: int
    mlp: int
    vocab_size: int
    num_crops: int  # the most that the server cuts a picture into
    patch_size: int = 14
    rope_theta: float = 10000.0

    @property
    def patches_per_side(self) -> int:
        return self.crop_size // self.patch_size


VIEWS_AT_ONCE = 4  # views that the tower encodes together on a CPU


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(dim) + mask) v over [batch, heads, T, dim].

    Not fused, because of bfloat16 on CPUs: there the backward pass of PyTorch's fused attention took four times as long
    at these short lengths. In float32 the fused one takes half as long.
    """
    if q.is_cuda or q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v.to(q.dtype), None if mask is None else mask.to(q.dtype))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    weights = (scores if mask is None else scores + mask.to(scores.dtype)).softmax(-1)
    return torch.matmul(weights.to(v.dtype), v)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, blocks: int = 2) -> Tensor:
    """`attention` under a causal mask, computed block by block, so that many masked scores are not computed.

    [T, heads, dim] of one conversation each, the mask [T, T].
    """
    size = -(-len(q) // blocks)
    ends = [min(len(q), (block + 1) * size) for block in range(blocks)]
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    parts = [
        attention(q[:, :, start:end], k[:, :, :end], v[:, :, :end], mask[start:end, :end])
        for start, end in zip([0, *ends], ends, strict=False)
        if start < end
    ]
    return torch.cat(parts, 2)[0].transpose(0, 1)


def branch_mask(branches: Tensor, rows: Tensor | None = None) -> Tensor:
    """Branches [T] of one conversation's tokens -> a mask [T, T] to add to scores; only `rows` of it, if given: [K, T].

    Each token attends to earlier tokens of its own branch and of the part that all branches share (0).
    """
    numbers = torch.arange(len(branches), device=branches.device)
    rows = numbers if rows is None else rows
    visible = ((branches == 0) | (branches == branches[rows, None])) & (numbers <= rows[:, None])
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, float("-inf"))


class VisionAttention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.vision_width
        self.heads = config.vision_heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed: Tensor = self.out_proj(attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class VisionMLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.vision_width, config.vision_mlp)
        self.fc2 = nn.Linear(config.vision_mlp, config.vision_width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        out: Tensor = self.fc2(hidden * torch.sigmoid(1.702 * hidden))  # quick_gelu
        return out


class VisionLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.vision_width)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.vision_width)
        self.mlp = VisionMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class VisionEmbeddings(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, patch = config.vision_width, config.patch_size
        self.class_embedding = nn.Parameter(0.02 * torch.randn(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(config.patches_per_side**2 + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return torch.cat([first, patches], 1) + self.position_embedding.weight.to(patches.dtype)


class VisionTransformer(nn.Module):
    """CLIP's tower; post_layernorm is part of the published layout and, as there, unused."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.vision_width)
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(VisionLayer(config) for _ in range(config.vision_layers))}
        )
        self.post_layernorm = nn.LayerNorm(config.vision_width)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, crop, crop] -> [N, L, C]: the last layer's output without the class token (layer_idx -1)."""
        x = self.pre_layrnorm(self.embeddings(pixels))
        layers = self.encoder["layers"]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            x = layer(x)
        out: Tensor = x[:, 1:]
        return out


class ImageEmbedding(nn.Module):
    """Crops -> tower -> 2x2 patches joined -> rows with separators -> decoder width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        joined = 4 * config.vision_width
        self.img_processor = nn.ModuleDict({"vision_model": VisionTransformer(config)})
        self.glb_GN = nn.Parameter(0.02 * torch.randn(1, 1, joined))
        self.sub_GN = nn.Parameter(0.02 * torch.randn(1, 1, 1, joined))
        self.img_projection = nn.Sequential(
            nn.Linear(joined, config.width), nn.GELU(), nn.Linear(config.width, config.width)
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """[N, 3, crop, crop] -> [N, L, C]; on a CPU a few views at a time, so that activations fit its caches."""
        at_once = len(pixels) if pixels.is_cuda else VIEWS_AT_ONCE
        return torch.cat([self.img_processor["vision_model"](views) for views in torch.split(pixels, at_once)])

    def project(self, patches: Tensor) -> Tensor:
        """[N, L, C] -> [N, S, S, D]: each 2x2 patches of a view joined and brought to the decoder's width."""
        side = round(patches.shape[1] ** 0.5) // 2
        joined = patches.reshape(len(patches), side, 2, side, 2, -1).permute(0, 1, 3, 2, 4, 5)
        projected: Tensor = self.img_projection(joined.reshape(len(patches), side, side, -1))
        return projected

    def forward(self, projected: Tensor, grids: list[tuple[int, int]]) -> Tensor:
        """[N, S, S, D], the views of all pictures in order, each global view first -> [image tokens, D].

        A picture of one crop has one view, which is both the global view and the crop. A picture with an empty grid has
        only the global view.
        """
        row_end, between = self.img_projection(torch.stack([self.sub_GN[0, 0, 0], self.glb_GN[0, 0]]))
        rows, first = [], 0
        for height, width in grids:
            count = height * width
            views = projected[first : first + 1 + (count if count > 1 else 0)]
            first += len(views)
            cut = [_rows(views[-count:], height, width, row_end)] if count else []
            rows += [*cut, between[None], _rows(views[:1], 1, 1, row_end)]
        return torch.cat(rows)


def _rows(views: Tensor, height: int, width: int, row_end: Tensor) -> Tensor:
    """[h w, S, S, D] -> [h S (w S + 1), D]: the crops in rows over the image, a separator after each row."""
    side = views.shape[1]
    grid = views.reshape(height, width, side, side, -1).permute(0, 2, 1, 3, 4).reshape(height * side, width * side, -1)
    return torch.cat([grid, row_end.expand(height * side, 1, -1)], 1).flatten(0, 1)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, 1e-5).to(x.dtype)


def rotary(positions: int, dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin [positions, dim] for the rotate-half form."""
    frequencies = torch.pow(theta, -torch.arange(0, dim, 2) / dim)
    angles = torch.outer(torch.arange(positions), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return (x * cos + torch.cat([-right, left], -1) * sin).to(x.dtype)


class DecoderAttention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv_proj = nn.Linear(config.width, 3 * config.width, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, masks: list[Tensor]) -> Tensor:
        """[T, D] -> [T, D], each conversation by itself under its mask."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.qkv_proj(x).chunk(3, -1))
        lengths = [len(mask) for mask in masks]
        each = (torch.split(part, lengths) for part in (rotate(q, cos, sin), rotate(k, cos, sin), v))
        mixed = torch.cat([causal_attention(*parts) for parts in zip(*each, masks, strict=True)])
        out: Tensor = self.o_proj(mixed.flatten(1))
        return out


class DecoderMLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.width, 2 * config.mlp, bias=False)
        self.down_proj = nn.Linear(config.mlp, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out


class DecoderLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width)
        self.self_attn = DecoderAttention(config)
        self.post_attention_layernorm = RMSNorm(config.width)
        self.mlp = DecoderMLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, masks: list[Tensor]) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, masks)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Backbone(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.vision_embed_tokens = ImageEmbedding(config)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)


class Phi3V(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.apply(_initialise)

    def encode(self, pixels: Tensor) -> Tensor:
        """[N, 3, crop, crop] -> [N, L, C]"""
        return self.model.vision_embed_tokens.encode(pixels)

    def project(self, patches: Tensor) -> Tensor:
        """[N, L, C] -> [N, S, S, D]"""
        return self.model.vision_embed_tokens.project(patches)

    def decode(
        self,
        token_ids: Tensor,
        lengths: list[int],
        branches: Tensor,
        positions: Tensor,
        image_mask: Tensor,
        projected: Tensor,
        grids: list[tuple[int, int]],
    ) -> list[Tensor]:
        """Hidden states [T, D] after each layer, the last normed, of conversations of these lengths.

        The pictures' features take the positions of `image_mask`, in order.
        """
        x = self.model.embed_tokens(token_ids)
        if grids:
            features = self.model.vision_embed_tokens(projected, grids)
            x = x.masked_scatter(image_mask[:, None], features.to(x.dtype))
        cos, sin = (table[:, None] for table in self._rotations(positions))
        masks = [branch_mask(its) for its in torch.split(branches, lengths)]
        states = []
        for layer in self.model.layers:
            x = layer(x, cos, sin, masks)
            states.append(x)
        return [*states[:-1], self.model.norm(x)]

    def attended(
        self, head: tuple[int, int], x: Tensor, lengths: list[int], branches: Tensor, positions: Tensor, looks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How well the attention of a head (layer, index) meets its targets: `looks` [P, 2], pairs of token and target.

        For each token: the logarithm of the attention on its targets together, and whether its greatest attention is
        on one of them. `x` [T, D] is the output of the layer before.
        """
        block, number = self.model.layers[head[0]], head[1] % self.config.heads
        assert isinstance(block, DecoderLayer)
        cos, sin = self._rotations(positions)
        dim, normed = cos.shape[-1], block.input_layernorm(x)
        of_q, of_k, _ = (torch.split(part, dim)[number] for part in block.self_attn.qkv_proj.weight.chunk(3))
        q, k = (rotate(F.linear(normed, weight), cos, sin) for weight in (of_q, of_k))
        found, start = [], 0
        for length in lengths:
            end = start + length
            its = looks[(start <= looks[:, 0]) & (looks[:, 0] < end)] - start
            found.append(_attended(q[start:end], k[start:end], branches[start:end], its))
            start = end
        shares, hits = zip(*found, strict=True)
        return torch.cat(shares), torch.cat(hits)

    def _rotations(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, [T, dim] each."""
        dim = self.config.width // self.config.heads
        cos, sin = rotary(int(positions.max()) + 1, dim, self.config.rope_theta)
        return cos.to(positions.device)[positions], sin.to(positions.device)[positions]


def _attended(q: Tensor, k: Tensor, branches: Tensor, looks: Tensor) -> tuple[Tensor, Tensor]:
    """`Phi3V.attended` of one conversation: queries and keys [T, dim], branches [T], `looks` [P, 2]."""
    tokens, rows = torch.unique(looks[:, 0], return_inverse=True)
    scores = (q[tokens] @ k.T).float() * q.shape[-1] ** -0.5
    is_meant = torch.zeros_like(scores, dtype=torch.bool)
    is_meant[rows, looks[:, 1]] = True
    shares = (scores + branch_mask(branches, tokens)).log_softmax(-1)
    hits = is_meant.gather(1, shares.argmax(-1, keepdim=True))[:, 0]
    return shares.masked_fill(~is_meant, float("-inf")).logsumexp(-1), hits


class DenseHead(nn.Module):
    """Predicts the targets of targets.py for each patch: logits of each choice, and the measures.

    Its inputs are patches, or positions into which 2x2 patches were joined.
    """

    def __init__(self, width: int, choices: dict[str, int], num_measures: int, is_joined: bool = False) -> None:
        super().__init__()
        self.choices, self.num_measures, self.joined = choices, num_measures, 4 if is_joined else 1
        self.norm = nn.LayerNorm(width)
        self.answers = nn.Linear(width, self.joined * (sum(choices.values()) + num_measures))

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """[N, L, C] or [N, S, S, D] -> logits of each choice [N, L, answers], measures [N, L, num_measures].

        The same for other tokens [M, D].
        """
        answers = self.answers(self.norm(x))
        if self.joined > 1:
            answers = answers.unflatten(-1, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5).flatten(1, 4)
        *logits, measures = answers.split([*self.choices.values(), self.num_measures], -1)
        return dict(zip(self.choices, logits, strict=True)), measures

    def parts(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Views of each choice's, and of the measures', weights [1 or 4, answers, C] and biases [1 or 4, answers]."""
        sizes = [*self.choices.values(), self.num_measures]
        weights = torch.split(self.answers.weight.view(self.joined, -1, self.answers.in_features), sizes, 1)
        biases = torch.split(self.answers.bias.view(self.joined, -1), sizes, 1)
        return dict(zip((*self.choices, "measures"), zip(weights, biases, strict=True), strict=True))


def token_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy in float32 over the last dimension; targets of IGNORE are left out, the others may be weighted."""
    each = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="none")
    counts = (targets.flatten() != IGNORE) * (1.0 if weights is None else weights.flatten())
    return (each * counts).sum() / counts.sum().clamp(min=1e-6)


def _initialise(module: nn.Module) -> None:
    """Initial weights are larger than is usual for wide models, since a narrow one would need thousands of steps to
    grow them. Embeddings are larger, too, so that the first layer's output does not hide a rare word.
    """
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.5)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.7 * module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, VisionEmbeddings):
        side = round((module.position_embedding.num_embeddings - 1) ** 0.5)
        with torch.no_grad():
            module.position_embedding.weight[1:] = 0.5 * _plane_waves(side, module.position_embedding.embedding_dim)


def _plane_waves(side: int, width: int) -> Tensor:
    """[side * side, width]: waves along rows and columns, so that neighbours differ from the first step on."""
    frequencies = 10 ** (-torch.arange(width // 4) / (width // 4)) * 1.5
    angles = torch.outer(torch.arange(side), frequencies)
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.cat([waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)], -1).reshape(
        side * side, -1
    )
