"""One batched forward of a causal language model that computes and keeps only what is asked for.

Rows are padded on the right. A causal model never looks there, so neither a mask nor explicit positions are needed.
Logits are always those of the model's own forward, with whatever it does to them after its output head.
Logits are computed only at the positions where an answer's token is scored. Hidden states are gathered inside forward
hooks, so that no [rows, length, width] tensor outlives its layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from engine.config import InputError
from engine.model.alike import EQUAL_LENGTHS, in_kinds, ranked_limit, rotary_limit


class ForwardError(InputError):
    """A model that can't be run on these texts on this machine."""


@dataclass(frozen=True)
class Read:
    """The mean hidden state over some positions of one row."""

    row: int
    positions: Sequence[int]


@dataclass(frozen=True)
class Ask:
    """The log-probability of one token after one position of one row."""

    row: int
    position: int
    token: int


def takes(model: PreTrainedModel, argument: str) -> bool:
    """Whether the model's forward has an argument of that name."""
    return argument in inspect.signature(model.forward).parameters


def padded(rows: Sequence[Sequence[float]], device: torch.device | None = None) -> Tensor:
    """Rows of numbers (mostly token ids) as a tensor [rows, longest], filled with 0 on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)


def batch_of(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of token ids, padded, on the model's device. They must be of one kind (`alike`)."""
    assert len(in_kinds(model, [len(row) for row in rows])) == 1, "rows that the model treats differently"
    return padded(rows, model.device)


def run(model: PreTrainedModel, input_ids: Tensor, *, logits_to_keep: Tensor | int = 0, **more: Any) -> Any:
    """The model's output; without a cache unless `more` has one. A model that can't choose logits gives all of them."""
    optional = {"use_cache": "past_key_values" in more, "logits_to_keep": logits_to_keep}
    return model(input_ids=input_ids, **{name: v for name, v in optional.items() if takes(model, name)}, **more)


UNREADABLE = "_layers_without_states"
"""Attribute of a model: layer → why its states can't be read; `checks.examine` sets it."""
WHOLE_HEAD = "_output_head_needs_all_states"
"""Attribute of a model whose output head can't be run on chosen states only; `checks.examine` sets it."""


def chosen_logits(model: PreTrainedModel, input_ids: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits [m, vocabulary] of the model's own forward, with gradients, where `choose` takes them from the states.

    `choose` maps [rows, length, anything] to [m, anything]. The output head takes a large share of a small model's
    time, so it gets the chosen states only; what the model does to the logits afterwards, it does to theirs.
    """
    head = None if getattr(model, WHOLE_HEAD, False) else model.get_output_embeddings()
    if head is None:
        return choose(run(model, input_ids).logits)

    def cut(_: nn.Module, args: tuple) -> tuple:
        return choose(args[0])[None], *args[1:]

    handle = head.register_forward_pre_hook(cut)
    try:
        return run(model, input_ids).logits[0]
    finally:
        handle.remove()


def in_order_of_kinds(
    model: PreTrainedModel, lengths: Sequence[int], values_of: Callable[[list[int]], Tensor]
) -> Tensor:
    """`values_of(numbers of rows)` [rows, …] of all rows of these lengths, in their order; rows of different kinds are
    computed apart."""
    groups = in_kinds(model, lengths)
    values = [values_of(group) for group in groups]
    if len(values) == 1:
        return values[0]
    order = torch.tensor([i for group in groups for i in group], device=values[0].device)
    return torch.cat(values)[order.argsort()]


def last_states(model: PreTrainedModel, rows: Sequence[Sequence[int]], layer: int) -> Tensor:
    """States of a layer at each row's last position, [rows, width], with their gradients. Layers are numbered as in
    `forward`, or from the last one (−1)."""
    layer %= len(model_blocks(model)[1]) + 1

    def states_of(numbers: list[int]) -> Tensor:
        last = torch.tensor([len(rows[i]) - 1 for i in numbers], device=model.device)
        found: list[Tensor] = []
        with visiting(model, [layer], lambda _, hidden: found.append(hidden)):
            run(model, batch_of(model, [rows[i] for i in numbers]), logits_to_keep=1)
        return found[-1][torch.arange(len(numbers), device=model.device), last]

    return in_order_of_kinds(model, [len(row) for row in rows], states_of)


def forward(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    asks: Sequence[Ask],
    reads: Sequence[Read] = (),
    layers: Sequence[int] = (),
    **more: Any,
) -> tuple[Tensor, Tensor, Any]:
    """log p [asks] in fp32, hidden states [reads, layers, width], and the model's output.

    `rows` are token ids; positions count within them. Layers are numbered as in transformers: 0 is the embeddings, k is
    after block k, the last one is after the final norm. `more` are arguments of the model, such as past_key_values.
    """
    input_ids = batch_of(model, rows)
    positions, columns = _kept_positions(len(rows), asks)
    keep = torch.tensor(positions, device=model.device)
    found: dict[int, Tensor] = {}
    gather = _gatherer(reads, model.device) if reads else None
    visits = visiting(model, layers, lambda layer, h: found.update({layer: gather(h)})) if gather else nullcontext()
    with torch.inference_mode(), visits:
        output = run(model, input_ids, logits_to_keep=keep, **more)
        logits = output.logits
        if not takes(model, "logits_to_keep"):
            logits = logits.take_along_dim(keep[..., None], dim=1)
        log_probs = torch.zeros(0)
        if asks:
            logits = logits.float()
            wanted = [(ask.row, column, ask.token) for ask, column in zip(asks, columns, strict=True)]
            row, column, token = torch.tensor(wanted, device=logits.device).T
            log_probs = logits[row, column, token] - logits.logsumexp(-1)[row, column]
        states = _stacked(found, layers) if gather else torch.zeros(0)
    return log_probs.cpu(), states.cpu(), output


def _stacked(found: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """[reads, width] of each layer → [reads, layers, width]. Raises ForwardError for layers of different widths."""
    widths = {layer: found[layer].shape[-1] for layer in layers}
    if len(set(widths.values())) > 1:
        one, other = min(widths, key=widths.__getitem__), max(widths, key=widths.__getitem__)
        why = f"states of layer {one} have {widths[one]} numbers, those of layer {other} have {widths[other]}"
        raise ForwardError(f"{why}: ask for layers of one width")
    return torch.stack([found[layer] for layer in layers], dim=1)


def _kept_positions(rows: int, asks: Sequence[Ask]) -> tuple[list[list[int]], list[int]]:
    """Positions [rows, k] at which to compute logits (padded with each row's first), and each ask's column in them."""
    wanted: list[dict[int, int]] = [{} for _ in range(rows)]
    for ask in asks:
        wanted[ask.row].setdefault(ask.position, len(wanted[ask.row]))
    width = max(1, *map(len, wanted))
    keep = [[*w, *[next(iter(w), 0)] * (width - len(w))] for w in wanted]
    return keep, [wanted[a.row][a.position] for a in asks]


def _gatherer(reads: Sequence[Read], device: torch.device) -> Callable[[Tensor], Tensor]:
    """[rows, length, width] → [reads, width], each a mean over its positions."""
    rows = torch.tensor([[read.row] for read in reads], device=device)
    positions = padded([read.positions for read in reads], device)
    if positions.shape[1] == 1:
        return lambda hidden: hidden[rows[:, 0], positions[:, 0]].float()
    weights = padded([[1 / len(read.positions)] * len(read.positions) for read in reads], device)[..., None]
    return lambda hidden: (hidden[rows, positions].float() * weights).sum(1)


@contextmanager
def visiting(model: PreTrainedModel, layers: Iterable[int], visit: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Context in which every forward calls `visit(layer, hidden)` with the states [rows, length, width] of each layer.
    `visit` may change them in place before anything else reads them. The hooks are removed on every exit.

    Layers: 0 is the embeddings, k is after block k, the last one is after the final norm. Raises ForwardError for a
    layer without one state for each token.
    """
    layers = sorted(set(layers))
    unreadable = getattr(model, UNREADABLE, {})
    for layer in layers:
        if layer in unreadable:
            raise ForwardError(f"{model.config.model_type}: layer {layer} can't be read: {unreadable[layer]}")
    if not layers:
        yield
        return
    body, blocks = model_blocks(model)
    handles = []

    def entering(_: nn.Module, args: tuple, kwargs: dict) -> None:
        visit(0, args[0] if args else kwargs["hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))])

    def leaving(layer: int, _: nn.Module, __: Any, output: Any) -> None:
        visit(layer, output if isinstance(output, Tensor) else output[0])

    try:
        for layer in layers:
            if layer == 0:
                handles.append(blocks[0].register_forward_pre_hook(entering, with_kwargs=True))
            else:
                module = body if layer == len(blocks) else blocks[layer - 1]
                handles.append(module.register_forward_hook(partial(leaving, layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def model_blocks(model: PreTrainedModel) -> tuple[nn.Module, nn.ModuleList]:
    """The module below the output head, whose first output is the last hidden state, and its list of blocks.

    Raises ForwardError if the architecture keeps its blocks elsewhere.
    """
    n = model.config.get_text_config().num_hidden_layers
    for body in (model.get_decoder(), model.base_model, *model.children()):
        for module in (body, *body.children()):
            for child in module.children():
                if body is not model and isinstance(child, nn.ModuleList) and len(child) == n:
                    return body, child
    raise ForwardError(f"{model.config.model_type}: its blocks can't be found, so hidden states can't be read")


KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each [rows, heads, length, width]."""


@dataclass(frozen=True)
class Stretch:
    """Cached tokens that rows continue: row i continues the first `lengths[i]` cached tokens of row `owners[i]`."""

    layers: Sequence[KeysValues]
    owners: Sequence[int]
    lengths: Sequence[int]

    def of_rows(self, rows: Sequence[int]) -> Stretch:
        """The same stretch for rows that continue these rows."""
        return Stretch(self.layers, [self.owners[i] for i in rows], [self.lengths[i] for i in rows])

    def columns(self, device: torch.device) -> Tensor:
        """Mask of the columns that each row shares, bool [rows, greatest length]."""
        return torch.arange(max(self.lengths), device=device) < torch.tensor(self.lengths, device=device)[:, None]

    def layer(self, number: int) -> KeysValues:
        """Keys and values of one layer up to the greatest length, for every row."""
        keys, values = (cached[:, :, : max(self.lengths)] for cached in self.layers[number])
        first = self.owners[0]
        if all(owner == first for owner in self.owners):
            sizes = (len(self.owners), -1, -1, -1)
            return keys[first : first + 1].expand(sizes), values[first : first + 1].expand(sizes)
        owners = torch.tensor(self.owners, device=keys.device)
        return keys.index_select(0, owners), values.index_select(0, owners)


class _PrefixLayer(DynamicLayer):
    """Gives keys and values of shared stretches to the rows that continue them.

    New keys and values are appended for the current attention. They are stored separately, and only if `keep`.
    """

    def __init__(self, stretches: Sequence[Stretch], number: int, keep: bool):
        super().__init__()
        self._stretches, self._number, self._keep = stretches, number, keep
        like = stretches[0].layers[number][0]
        self.dtype, self.device, self.is_initialized = like.dtype, like.device, True
        self.new: KeysValues | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> KeysValues:
        if self._keep:
            self.new = key_states, value_states
        keys, values = zip(*(s.layer(self._number) for s in self._stretches), strict=True)
        return torch.cat([*keys, key_states], dim=-2), torch.cat([*values, value_states], dim=-2)

    def get_seq_length(self) -> int:
        return sum(max(stretch.lengths) for stretch in self._stretches)


def continue_prefixes(
    model: PreTrainedModel,
    stretches: Sequence[Stretch],
    suffixes: Sequence[Sequence[int]],
    asks: Sequence[Ask],
    reads: Sequence[Read],
    layers: Sequence[int],
    *,
    keep: bool = False,
) -> tuple[Tensor, Tensor, list[KeysValues]]:
    """Like `forward` for rows whose tokens before the suffix are cached, in one or more stretches.

    Lengths may differ within a batch: a stretch is used up to its largest length, and the columns that a row does not
    share are masked. Each row's positions continue from its own start. Positions of asks and reads count within the
    suffix. With `keep`, the third result holds the suffixes' keys and values of each layer, so that further rows can
    continue them.
    """
    device, longest = model.device, max(map(len, suffixes))
    starts = [sum(stretch.lengths[row] for stretch in stretches) for row in range(len(suffixes))]
    prefix = sum(max(stretch.lengths) for stretch in stretches)
    begin = torch.tensor(starts, device=device)[:, None]
    ends = begin + torch.tensor([len(suffix) for suffix in suffixes], device=device)[:, None] - 1
    # Positions stop at each row's own end, because the model's table of positions may end there.
    more: dict[str, Any] = {"position_ids": torch.minimum(begin + torch.arange(longest, device=device), ends)}
    if min(starts) < prefix:
        columns = [stretch.columns(device) for stretch in stretches]
        own = torch.ones(len(suffixes), longest, dtype=torch.bool, device=device)
        more["attention_mask"] = torch.cat([*columns, own], dim=1).long()
    continued = DynamicCache()
    continued.layers = [_PrefixLayer(stretches, number, keep) for number in range(len(stretches[0].layers))]
    log_probs, states, _ = forward(model, suffixes, asks, reads, layers, past_key_values=continued, **more)
    return log_probs, states, [layer.new for layer in continued.layers if layer.new is not None]


def can_share(model: PreTrainedModel, longest: int, stretches: int = 1) -> str:
    """The reason why other rows can't reuse the keys and values of a prefix; empty if they can.

    A sliding window is no obstacle if a row and the stretches before it, each of length `longest`, fit into it.
    """
    if not takes(model, "past_key_values"):
        return "no key-value cache"
    if not takes(model, "position_ids"):
        return "rows can't be given their positions (no position_ids)"
    if getattr(model, EQUAL_LENGTHS, False):
        return "padding changes its numbers"
    if (limit := rotary_limit(model)) and longest > limit:
        return f"its rotary embedding changes beyond {limit} tokens"
    if (limit := ranked_limit(model)) and longest > limit:
        return f"it attends to the {limit} keys of the highest ranks only"
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception as error:  # the configuration of an unknown architecture may raise anything
        return f"unknown cache ({type(error).__name__})"
    config = model.config.get_text_config()
    windows = [config.window_size] if "local" in (getattr(config, "attention_layers", None) or ()) else []  # GPT-Neo
    for layer in layers:
        if type(layer) is DynamicLayer:
            continue
        window = getattr(layer, "sliding_window", None)
        if not isinstance(layer, DynamicLayer) or window is None:
            return f"its cache can't be sliced ({type(layer).__name__})"
        windows.append(window)
    if windows and (1 + stretches) * longest > min(windows):
        return f"a sliding window of {min(windows)} tokens, too short for these rows"
    return ""
