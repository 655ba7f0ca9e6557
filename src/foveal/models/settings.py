"""Which settings any value is taken of: what the families read, and what changes no answer.

A type is that of a config or of a picture processor in the reference library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DECODER = _names(
    "eos_token_id head_dim hidden_act hidden_size max_position_embeddings num_attention_heads num_hidden_layers "
    "num_key_value_heads rms_norm_eps rope_parameters tie_word_embeddings vocab_size"
)
_WINDOWS = _DECODER | {"layer_types", "max_window_layers", "sliding_window", "use_sliding_window"}
_HYBRID = (_DECODER - {"hidden_act"}) | {
    *("layer_types", "num_experts_per_tok", "linear_conv_kernel_dim", "linear_key_head_dim", "linear_num_key_heads"),
    *("linear_num_value_heads", "linear_value_head_dim"),
}
_TOWER = _names(
    "hidden_act hidden_size image_size intermediate_size layer_norm_eps num_attention_heads num_hidden_layers "
    "patch_size"
)
_GRID_TOWER = _names("depth hidden_act num_heads patch_size spatial_merge_size")
_GEMMA4 = (_DECODER - {"hidden_act"}) | {
    *("attention_k_eq_v", "final_logit_softcapping", "global_head_dim", "hidden_activation", "layer_types"),
    *("num_global_key_value_heads", "num_kv_shared_layers", "pad_token_id", "per_layer_config", "sliding_window"),
    "use_bidirectional_attention",
}
_PARTS = frozenset({"text_config", "vision_config", "tie_word_embeddings"})
_LLAVA = _PARTS | {
    *("image_grid_pinpoints", "image_token_index", "projector_hidden_act"),
    *("vision_feature_layer", "vision_feature_select_strategy"),
}
_QWEN = _PARTS | {"image_token_id"}
_PICTURES = frozenset({"image_mean", "image_std", "size"})
_CUT = _PICTURES | {"crop_size", "do_center_crop", "image_grid_pinpoints"}
_TILES = _PICTURES | {"do_image_splitting", "do_pad", "max_image_size"}

READ: Mapping[str, frozenset[str]] = {
    # decoders
    "gemma3_text": (_DECODER - {"hidden_act"})
    | {"final_logit_softcapping", "layer_types", "query_pre_attn_scalar", "sliding_window"},
    "gemma4_text": _GEMMA4 | {"enable_moe_block", "hidden_size_per_layer_input", "top_k_experts"},
    "gemma4_unified_text": _GEMMA4,
    "granite": _DECODER | {"attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier"},
    "llama": _DECODER,
    "mistral": _DECODER | {"sliding_window"},
    "mllama_text_model": _DECODER | {"cross_attention_layers"},
    "phi3": _DECODER | {"original_max_position_embeddings", "sliding_window"},
    **dict.fromkeys(("qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3"), _WINDOWS),
    "qwen3_vl_text": _DECODER,
    **dict.fromkeys(("qwen3_5_text", "qwen3_5_moe_text"), _HYBRID),
    # vision towers
    **dict.fromkeys(("clip_vision_model", "idefics3_vision", "siglip_vision_model", "smolvlm_vision"), _TOWER),
    "gemma4_vision": (_TOWER - {"hidden_act", "image_size", "layer_norm_eps"})
    | {"head_dim", "hidden_activation", "num_key_value_heads", "pooling_kernel_size", "rms_norm_eps"}
    | {"rope_parameters", "standardize", "use_clipped_linears"},
    "gemma4_unified_vision": frozenset({"patch_size", "pooling_kernel_size", "rms_norm_eps"}),
    "internvl_vision": _TOWER,
    "mllama_vision_model": (_TOWER - {"hidden_act", "layer_norm_eps", "num_attention_heads"})
    | {"attention_heads", "intermediate_layers_indices", "max_num_tiles", "norm_eps", "num_global_layers"}
    | {"supported_aspect_ratios"},
    **dict.fromkeys(("qwen2_vl_vision", "qwen3_5_moe_vision", "qwen3_5_vision"), _GRID_TOWER),
    "qwen2_5_vl_vision": _GRID_TOWER | {"fullatt_block_indexes", "window_size"},
    "qwen3_vl_vision": _GRID_TOWER | {"deepstack_visual_indexes"},
    # wholes
    "gemma3": _PARTS | {"boi_token_index", "eoi_token_index", "image_token_index", "mm_tokens_per_image"},
    **dict.fromkeys(
        ("gemma4", "gemma4_unified"),
        _PARTS | {"audio_config", "audio_token_id", "boi_token_id", "eoi_token_id", "image_token_id", "video_token_id"},
    ),
    **dict.fromkeys(("idefics3", "smolvlm"), _PARTS | {"image_token_id", "scale_factor"}),
    "internvl": _PARTS | {"downsample_ratio", "image_seq_length", "image_token_id", "projector_hidden_act"},
    **dict.fromkeys(("llava", "llava_next"), _LLAVA),
    "mllama": _PARTS | {"image_token_index"},
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe"), _QWEN),
    # picture processors
    **dict.fromkeys((f"{name}ImageProcessor" for name in ("CLIP", "Llava", "Siglip")), _CUT),
    "LlavaNextImageProcessor": _CUT | {"do_pad"},
    "Gemma3ImageProcessor": _PICTURES,
    "Gemma4ImageProcessor": frozenset({"max_soft_tokens", "patch_size", "pooling_kernel_size"}),
    "GotOcr2ImageProcessor": _PICTURES | {"max_patches", "min_patches"},
    **dict.fromkeys(("Idefics3ImageProcessor", "SmolVLMImageProcessor"), _TILES),
    "MllamaImageProcessor": _PICTURES | {"max_image_tiles"},
    "Qwen2VLImageProcessor": _PICTURES | {"max_pixels", "merge_size", "min_pixels", "patch_size"},
}

NEUTRAL = _names(
    # of training
    "attention_dropout dropout embd_pdrop hidden_dropout_prob initializer_factor initializer_range "
    "layer_scale_init_value output_router_logits pretraining_tp projection_dropout resid_pdrop router_aux_loss_coef "
    "use_cache use_mask_token "
    # what the tensors show
    "attention_bias embed_dim hidden_size intermediate_size mlp_bias mlp_ratio moe_intermediate_size "
    "multimodal_projector_bias norm_type num_experts num_position_embeddings out_hidden_size projection_dim "
    "mm_embed_dim mm_posemb_size output_proj_dims position_embedding_size shared_expert_intermediate_size "
    "use_double_wide_mlp vocab_size_per_layer_input use_mean_pooling use_qk_norm vision_output_dim vision_use_head "
    # what the conversation or the tokenizer decides, and videos
    "_pad_token_id bos_token_id eos_token_id image_seq_length pad_token_id tokens_per_second video_token_id "
    "boa_token_id eoa_token_index "
    "vision_end_token_id vision_start_token_id vocab_size "
    # what is said twice
    "_sliding_window_pattern tie_word_embeddings "
    # pictures here are RGB; batches are not padded; the processors of families set what they ask for themselves
    "crop_size crop_to_patches do_convert_rgb pad_size pan_and_scan_max_num_crops pan_and_scan_min_crop_size "
    "pan_and_scan_min_ratio_to_activate return_row_col_info"
)
