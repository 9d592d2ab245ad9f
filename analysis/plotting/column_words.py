"""Names, units, meanings and formulas of columns, as a figure writes them."""

from __future__ import annotations

from probes.schema import Column

_WORDS = {
    "grad": "gradient",
    "var": "variance",
    "l2": "L2",
    "lr": "learning rate",
}
# The schema's definitions, in words for the readers of a figure. Formulas are mathtext.
_MEANINGS = {
    "accuracy": ("share of right answers", ""),
    "loss": ("mean cross-entropy", ""),
    "weight_mean": ("mean of a layer's weights", r"$\sum_i w_i\,/\,n$"),
    "weight_var": ("variance of a layer's weights", r"$\sum_i (w_i-\bar w)^2\,/\,n$"),
    "activation_mean": ("mean of a layer's output over batch, channels and places", r"$\sum_i x_i\,/\,n$"),
    "activation_var": ("variance of a layer's output", r"$\sum_i (x_i-\bar x)^2\,/\,n$"),
    "grad_mean": ("mean of the gradient's entries", r"$\sum_i g_i\,/\,n$"),
    "grad_var": ("variance of the gradient's entries", r"$\sum_i (g_i-\bar g)^2\,/\,n$"),
    "grad_l2_norm": ("length of the gradient", r"$(\sum_i g_i^2)^{1/2}$"),
    "grad_sparsity": ("share of the gradient's entries that are exactly zero", r"$\#\{i: g_i=0\}\,/\,n$"),
    "grad_near_sparsity": (
        "share of the gradient's entries a thousand times smaller than their root mean square",
        r"$\#\{i: |g_i| < 2^{\lfloor \log_2 \mathrm{rms}\rfloor-10}\}\,/\,n$",
    ),
    "update_ratio": ("length of the step relative to the length of the weight", r"$|W'-W|\,/\,|W|$"),
    "update_angle": ("angle by which the step turns the weight", r"$\angle(W, W')$"),
    "singular_value_mean": (
        "mean singular value of the weight as a matrix, outputs by all else",
        r"$(\sigma_1+\ldots+\sigma_r)\,/\,r$ of $W$ unfolded to $(out,\ in\,k_h k_w)$",
    ),
    "kernel_singular_value_mean": (
        "largest singular value of each kernel slice, averaged",
        r"mean over $o, i$ of $\sigma_1(W_{o,i,:,:})$",
    ),
    "spectral_norm": ("largest singular value of the weight as a matrix", r"$\sigma_1(W)$"),
    "operator_norm": ("largest factor by which the layer lengthens an input", r"$\max_x |W * x|\,/\,|x|$"),
    "stable_rank": ("stable rank of the weight as a matrix", r"$\sum_i \sigma_i^2\,/\,\sigma_1^2$"),
    "effective_rank": ("effective rank of the weight as a matrix", r"$\exp H(\sigma / \sum_i\sigma_i)$"),
    "attention_logit_max": ("largest attention logit", r"$\max_{i,j}\; q_i\cdot k_j\,/\,\sqrt{d}$"),
    "attention_entropy": ("entropy of the attention of a query", r"$-\sum_j p_{ij} \log p_{ij}$"),
    "router_load": ("share of the router's choices that fall on an expert", ""),
    "router_entropy": ("entropy of the router's choice for a token", r"$-\sum_e p_e \log p_e$"),
    "input_rms": ("root mean square of a layer's input", r"$(\sum_i x_i^2\,/\,n)^{1/2}$"),
    "activation_rms": ("root mean square of a layer's output", r"$(\sum_i x_i^2\,/\,n)^{1/2}$"),
    "weight_l2_norm": ("length of the weight", r"$(\sum_i w_i^2)^{1/2}$"),
    "dead_fraction": (
        "share of channels that are nowhere positive in the batch",
        r"$\#\{c: \max_{n,h,w} x_{nchw} \leq 0\}\,/\,C$",
    ),
}


def in_words(name: str) -> str:
    """Return a column's name in words: ``grad_var`` is "gradient variance"."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def axis_label(column: Column) -> str:
    """Return a column's name and unit for an axis; a pure number has no unit."""
    unit = "" if column.unit in ("", "1") else f" [{column.unit}]"
    return in_words(column.name) + unit


def definition(column: Column) -> str:
    """Return the formula and the tensor of a column, as the store gives them."""
    tensor = f"  ({column.tensor})" if column.tensor else ""
    return f"{column.formula}{tensor}" if column.formula else in_words(column.name)


def sentence(words: str) -> str:
    """Return words with the first letter in upper case, the others as they are."""
    return f"{words[:1].upper()}{words[1:]}"


def meaning(column: Column) -> str:
    """Return the meaning of a column in words; its name if this project does not define the column."""
    return _MEANINGS.get(column.name, (in_words(column.name), ""))[0]


def mathtext(column: Column) -> str:
    """Return a column's formula as mathtext; nothing for a column that this project does not define."""
    return _MEANINGS.get(column.name, ("", ""))[1]


def with_smoothing(note: str, window: int) -> str:
    """Return a note with the window of the smoothing, if there is any."""
    return note if window == 1 else f"{note}; trailing mean of {window} records"
