"""The words of the tape: which calls share a meaning, by the plain name that the recorder gives them.

``uses``, ``residuals`` and ``moments`` ask here what kind of call a node is.
"""

from __future__ import annotations

MATMULS = frozenset(
    "matmul mm bmm addmm baddbmm addbmm einsum mv addmv dot inner tensordot _grouped_mm grouped_mm sparse_mm".split()
)
CONVS = frozenset("conv1d conv2d conv3d".split())
TRANSPOSED_CONVS = frozenset("conv_transpose1d conv_transpose2d conv_transpose3d".split())
RECURRENT = frozenset("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split())
EMBEDDINGS = frozenset("embedding embedding_bag".split())
ATTENTION = frozenset("scaled_dot_product_attention".split())
# Calls that map units to units through a weight, where one of their operands is one.
WEIGHT_CALLS = (
    MATMULS | CONVS | TRANSPOSED_CONVS | RECURRENT | EMBEDDINGS | {"linear", "bilinear", "multi_head_attention_forward"}
)
NORMS = frozenset("layer_norm batch_norm group_norm instance_norm rms_norm local_response_norm normalize".split())
ACTIVATIONS = frozenset(
    "relu relu6 gelu silu sigmoid tanh softplus elu selu celu leaky_relu prelu rrelu hardswish hardsigmoid hardtanh "
    "mish sin cos exp softmax log_softmax logsigmoid softsign tanhshrink softshrink hardshrink erf threshold glu abs "
    "square clamp clamp_min clamp_max".split()
)
# Calls that hand on the values they read, in another shape, order, dtype or place, or with some dropped.
VIEWS = frozenset(
    "view reshape permute transpose contiguous to type float half bfloat16 double dropout alpha_dropout "
    "feature_dropout feature_alpha_dropout dropout1d dropout2d dropout3d flatten unflatten squeeze unsqueeze expand "
    "expand_as clone detach T mT H data t getitem chunk split split_with_sizes unbind roll pad movedim moveaxis "
    "swapaxes swapdims narrow select slice alias view_as reshape_as type_as repeat repeat_interleave index_select "
    "stack as_strided tile gather flip requires_grad_ pixel_shuffle pixel_unshuffle channel_shuffle fold unfold cpu "
    "cuda tensor_split rot90 ravel broadcast_to broadcast_tensors hsplit vsplit dsplit index setitem copy "
    "take_along_dim atleast_1d atleast_2d atleast_3d nan_to_num where masked_fill masked_scatter tril triu index_add "
    "index_copy index_put scatter scatter_add scatter_reduce view_as_real view_as_complex real identity native_dropout "
    "positive conj resolve_conj resolve_neg movedim pad_packed_sequence meshgrid diagonal unsafe_chunk unsafe_split "
    "_unsafe_view _to_copy lift_fresh checkpoint".split()
)
POOLS = frozenset(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d mean sum amax "
    "amin max interpolate upsample upsample_nearest upsample_bilinear cumsum logsumexp std var norm".split()
)
JOINS = frozenset("cat concat concatenate stack hstack vstack dstack column_stack".split())
SUMS = frozenset("add sub rsub".split())
PRODUCTS = frozenset("mul div addcmul addcdiv".split())
ARITHMETIC = SUMS | PRODUCTS | {"neg", "pow", "lerp", "reciprocal", "sqrt", "rsqrt"}
