"""What a tensor does in its model, told by its name across families."""

import re
from collections.abc import Sequence
from typing import Literal

Kind = Literal["q", "k", "v", "o", "attention", "mlp", "norm", "embedding", "head", "experts", "convolution", "other"]
"""Queries, keys, values and outputs of attention; attention where they are fused or it is something else of it;
layers of perceptrons; norms; tables and tokens at the beginning; what follows the last layer; experts and what routes
to them; convolutions; anything else."""

PART = re.compile(r"[._](weight|bias|gamma|beta|running_mean|running_var|scale_shift_table)$")
"""What a name ends with that says which part of its module a tensor is."""

NORM = re.compile(r"norm|layrnorm|(^|_)(ln|bn)(_|\d|$)")
EXPERTS = re.compile(r"experts|(^|\.)(router|block_sparse_moe)\.|(^|\.)mlp\.(gate|router)$")
HEAD = re.compile(
    r"(^|\.)(lm_head|embed_out|output_layer|classifier|predictions|text_projection|visual_projection|score|head)(\.|$)"
    r"|^(cls\..*|fc|output|proj|visual\.proj)$"
)
EMBEDDING = re.compile(
    r"(^|\.)(wte|wpe|shared|emb)$|(?<!rotary_)embed|(^|\.)(cls|class|mask|distillation|register)_tokens?$"
)
MLP = re.compile(
    r"mlp|ffn|feed_?forward|densereludense|intermediate|dense_h_to_4h|dense_4h_to_h|(^|(?<!attention)\.)output\.dense$|(^|\.)ff\.net\.\d"
    r"|(^|[._])(fc\d?|fc_in|fc_out|c_fc|lin[12]|w[123]|wi(_\d)?|(gate|up|down|gate_up)_proj)$"
)
ATTENTION = re.compile(
    r"attn|attention|(^|\.)mixer\.(wq|wk|wv|wo|wqkv)$|(^|\.)(q|k|v|o)_(proj|lin)$|query_key_value|qkv"
)
QUERY = re.compile(r"^(q|wq|query|to_q|attn_q|q_lin|q(_[ab])?_proj|query_proj)$")
KEY = re.compile(r"^(k|wk|key|to_k|attn_k|k_lin|k_proj|key_proj)$")
VALUE = re.compile(r"^(v|wv|value|to_v|attn_v|v_lin|v_proj|value_proj)$")
OUTPUT = re.compile(r"^(o|wo|o_proj|out_proj|out_lin|out|to_out|proj|c_proj|dense|attn_output)$")


def kind_of(name: str, shape: Sequence[int] = ()) -> Kind:
    """Return what a tensor does, by its name and, where that says nothing, its shape.

    >>> kind_of("model.layers.3.self_attn.q_proj.weight"), kind_of("h.0.mlp.c_proj.weight"), kind_of("logit_scale")
    ('q', 'mlp', 'other')
    """
    whole = PART.sub("", name.lower()).removesuffix(".0")
    own = whole.rpartition(".")[2]
    if NORM.search(own):
        return "norm"
    if EXPERTS.search(whole):
        return "experts"
    if HEAD.search(whole):
        return "head"
    if EMBEDDING.search(whole):
        return "embedding"
    if MLP.search(whole):
        return "mlp"
    if ATTENTION.search(whole):
        return _of_attention(own)
    if "conv" in own or len(shape) > 2:
        return "convolution"
    return "other"


def _of_attention(own: str) -> Kind:
    parts: dict[Kind, re.Pattern[str]] = {"q": QUERY, "k": KEY, "v": VALUE, "o": OUTPUT}
    return next((kind for kind, pattern in parts.items() if pattern.match(own)), "attention")
