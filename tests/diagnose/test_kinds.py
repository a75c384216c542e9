"""Kinds of tensors by their names, across families."""

import pytest

from taskvec.diagnose.kinds import kind_of

LLAMA = {
    "model.embed_tokens.weight": "embedding",
    "model.layers.0.self_attn.q_proj.weight": "q",
    "model.layers.0.self_attn.q_proj.bias": "q",
    "model.layers.0.self_attn.k_proj.weight": "k",
    "model.layers.0.self_attn.v_proj.weight": "v",
    "model.layers.0.self_attn.o_proj.weight": "o",
    "model.layers.0.self_attn.q_norm.weight": "norm",
    "model.layers.0.mlp.gate_proj.weight": "mlp",
    "model.layers.0.mlp.down_proj.weight": "mlp",
    "model.layers.0.input_layernorm.weight": "norm",
    "model.layers.0.pre_feedforward_layernorm.weight": "norm",
    "model.norm.weight": "norm",
    "lm_head.weight": "head",
    "model.layers.0.self_attn.qkv_proj.weight": "attention",
    "model.layers.0.block_sparse_moe.gate.weight": "experts",
    "model.layers.0.block_sparse_moe.experts.3.w1.weight": "experts",
    "model.layers.0.mlp.experts.gate_up_proj": "experts",
    "model.layers.0.mlp.gate.weight": "experts",
}
GPT = {
    "wte.weight": "embedding",
    "transformer.wpe.weight": "embedding",
    "h.0.ln_1.weight": "norm",
    "h.0.attn.c_attn.weight": "attention",
    "h.0.attn.c_proj.bias": "o",
    "h.0.mlp.c_fc.weight": "mlp",
    "h.0.mlp.c_proj.weight": "mlp",
    "ln_f.weight": "norm",
    "gpt_neox.embed_in.weight": "embedding",
    "gpt_neox.layers.0.attention.query_key_value.weight": "attention",
    "gpt_neox.layers.0.attention.dense.weight": "o",
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": "mlp",
    "embed_out.weight": "head",
    "model.decoder.layers.0.fc1.weight": "mlp",
    "model.decoder.layers.0.self_attn.out_proj.weight": "o",
    "model.decoder.layers.0.self_attn_layer_norm.weight": "norm",
}
BERT = {
    "embeddings.word_embeddings.weight": "embedding",
    "embeddings.LayerNorm.weight": "norm",
    "encoder.layer.0.attention.self.query.weight": "q",
    "encoder.layer.0.attention.self.key.bias": "k",
    "encoder.layer.0.attention.self.value.weight": "v",
    "encoder.layer.0.attention.output.dense.weight": "o",
    "encoder.layer.0.attention.output.LayerNorm.weight": "norm",
    "encoder.layer.0.intermediate.dense.weight": "mlp",
    "encoder.layer.0.output.dense.weight": "mlp",
    "encoder.layer.0.output.LayerNorm.bias": "norm",
    "pooler.dense.weight": "other",
    "classifier.weight": "head",
    "classifier.dense.weight": "head",
    "cls.predictions.transform.dense.weight": "head",
    "distilbert.transformer.layer.0.attention.q_lin.weight": "q",
    "distilbert.transformer.layer.0.attention.out_lin.weight": "o",
    "distilbert.transformer.layer.0.ffn.lin1.weight": "mlp",
    "layers.0.attn.Wqkv.weight": "attention",
    "layers.0.attn.Wo.weight": "o",
    "layers.0.mlp.Wo.weight": "mlp",
}
VISION = {
    "vision_model.embeddings.class_embedding": "embedding",
    "vision_model.embeddings.patch_embedding.weight": "embedding",
    "vision_model.pre_layrnorm.weight": "norm",
    "vision_model.encoder.layers.0.self_attn.out_proj.weight": "o",
    "vision_model.encoder.layers.0.layer_norm1.weight": "norm",
    "vision_model.encoder.layers.0.mlp.fc1.weight": "mlp",
    "visual_projection.weight": "head",
    "logit_scale": "other",
    "visual.transformer.resblocks.0.attn.in_proj_weight": "attention",
    "visual.transformer.resblocks.0.attn.out_proj.weight": "o",
    "visual.transformer.resblocks.0.mlp.c_proj.weight": "mlp",
    "blocks.0.attn.qkv.weight": "attention",
    "blocks.0.attn.proj.weight": "o",
    "blocks.0.norm1.weight": "norm",
    "patch_embed.proj.weight": "embedding",
    "cls_token": "embedding",
    "head.weight": "head",
    "encoder.layer.0.attention.attention.query.weight": "q",
    "encoder.layer.0.layer_scale1.lambda1": "other",
    "encoder.layer.0.layernorm_before.weight": "norm",
    "layer1.0.bn1.weight": "norm",
    "layer1.0.conv1.weight": "convolution",
    "fc.weight": "head",
}
T5 = {
    "shared.weight": "embedding",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "q",
    "decoder.block.0.layer.1.EncDecAttention.o.weight": "o",
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": "attention",
    "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": "mlp",
    "encoder.block.0.layer.1.DenseReluDense.wo.weight": "mlp",
    "encoder.block.0.layer.0.layer_norm.weight": "norm",
    "encoder.final_layer_norm.weight": "norm",
}


@pytest.mark.parametrize(("name", "kind"), [(n, k) for f in (LLAMA, GPT, BERT, VISION, T5) for n, k in f.items()])
def test_kind_by_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_tensor_of_four_axes_is_a_convolution_where_its_name_says_nothing() -> None:
    assert kind_of("downsample.2.weight", (8, 4, 1, 1)) == "convolution"
    assert kind_of("downsample.2.weight", (8, 4)) == "other"
