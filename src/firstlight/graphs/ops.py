"""The words of the tape: which calls share a meaning, by the plain name that the recorder gives them.

``uses``, ``residuals`` and ``moments`` ask here what kind of call a node is.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


MATMULS = words("matmul mm bmm addmm baddbmm addbmm einsum mv addmv dot inner tensordot _grouped_mm grouped_mm")
CONVS = words("conv1d conv2d conv3d")
TRANSPOSED_CONVS = words("conv_transpose1d conv_transpose2d conv_transpose3d")
RECURRENT = words("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
EMBEDDINGS = words("embedding embedding_bag")
ATTENTION = words("scaled_dot_product_attention")
# Calls that map units to units through a weight, where one of their operands is one.
WEIGHT_CALLS = (
    MATMULS | CONVS | TRANSPOSED_CONVS | RECURRENT | EMBEDDINGS | {"linear", "bilinear", "multi_head_attention_forward"}
)
NORMS = words("layer_norm batch_norm group_norm instance_norm rms_norm local_response_norm normalize")
ACTIVATIONS = words(
    "relu relu6 gelu silu sigmoid tanh softplus elu selu celu leaky_relu prelu rrelu hardswish hardsigmoid hardtanh "
    "mish sin cos exp softmax log_softmax logsigmoid softsign tanhshrink softshrink hardshrink erf threshold glu abs "
    "square clamp clamp_min clamp_max"
)
# Calls that hand on the values they read, in another shape, order, dtype or place, or with some dropped.
VIEWS = words(
    "view reshape permute transpose contiguous to type float half bfloat16 double dropout alpha_dropout "
    "feature_dropout feature_alpha_dropout dropout1d dropout2d dropout3d flatten unflatten squeeze unsqueeze expand "
    "expand_as clone detach T mT H data t getitem chunk split split_with_sizes unbind roll pad movedim moveaxis "
    "swapaxes swapdims narrow select slice alias view_as reshape_as type_as repeat repeat_interleave index_select "
    "stack as_strided tile gather flip requires_grad_ pixel_shuffle pixel_unshuffle channel_shuffle fold unfold cpu "
    "cuda tensor_split rot90 ravel broadcast_to broadcast_tensors hsplit vsplit dsplit index setitem copy "
    "take_along_dim atleast_1d atleast_2d atleast_3d nan_to_num where masked_fill masked_scatter tril triu index_add "
    "index_copy index_put scatter scatter_add scatter_reduce view_as_real view_as_complex real identity native_dropout "
    "positive conj resolve_conj resolve_neg movedim pad_packed_sequence meshgrid diagonal unsafe_chunk unsafe_split "
    "_unsafe_view _to_copy lift_fresh checkpoint"
)
POOLS = words(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d mean sum amax "
    "amin max interpolate upsample upsample_nearest upsample_bilinear cumsum logsumexp std var norm"
)
JOINS = words("cat concat concatenate stack hstack vstack dstack column_stack")
SUMS = words("add sub rsub")
PRODUCTS = words("mul div addcmul addcdiv")
ARITHMETIC = SUMS | PRODUCTS | {"neg", "pow", "lerp", "reciprocal", "sqrt", "rsqrt"}
# Attributes and questions about form: they make no tensor, and are asked often.
FORM = words(
    "shape dtype device layout is_sparse ndim requires_grad size dim numel stride is_floating_point is_contiguous "
    "is_complex is_quantized is_cuda is_meta is_cpu is_leaf storage_offset names grad_fn element_size nelement "
    "itemsize nbytes untyped_storage data_ptr is_nested retains_grad get_device is_inference"
)
