"""A module that is watched while it runs: what goes into its layers, and each example's gradients of its weights."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .layers import Layer, NotApart, layers_of
from .per_example import PerExample, Plain, joined

if TYPE_CHECKING:
    import torch

Take = Callable[[str, PerExample], None]
TakeInput = Callable[[Layer, "torch.Tensor", "torch.Tensor | None"], None]


class Watched:
    """Gives the gradients of every parameter by example, from passes over whole batches.

    Layers of known kinds (`layers_of`) give them by what goes in and what comes back. Of other parameters each example
    gets a copy of its own (`spread`), where that changes nothing. What neither serves is `single`: a pass then takes
    one example, and its gradients are those of autograd. `probe.probed` finds out which is which.
    """

    def __init__(self, module: Any, single: frozenset[str] = frozenset(), spread: frozenset[str] = frozenset()) -> None:
        self.module, self.single, self.spread = module, single, spread
        self.layers = tuple(layers_of(module))
        self.parameters: dict[str, torch.Tensor] = dict(module.named_parameters())
        self.mixed: set[str] = set()
        self.take_input: TakeInput | None = None
        self._take: Take | None = None
        self._count = 1
        self._mask: torch.Tensor | None = None
        self._uses: Counter[str] = Counter()
        self._waiting: defaultdict[str, list[PerExample]] = defaultdict(list)
        self._copies: dict[str, torch.Tensor] = {}

    @property
    def known(self) -> frozenset[str]:
        """The parameters of layers of known kinds."""
        return frozenset(name for layer in self.layers for name in layer.parameters.values())

    def clashing(self) -> frozenset[str]:
        """Return the parameters that layers of different kinds share, such as a table that is also an output layer."""
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for layer in self.layers:
            for name in layer.parameters.values():
                kinds[name].add(f"{layer.kind} {layer.turned}")
        return frozenset(name for name, several in kinds.items() if len(several) > 1)

    @contextmanager
    def open(self, learning: bool = False) -> Iterator[None]:
        """Watch; afterwards the module is as before. `learning`: autograd finds all gradients, too."""
        with ExitStack() as undo:
            for layer in self.layers:
                hook = layer.module.register_forward_hook(self._hook(layer), with_kwargs=True)
                undo.callback(hook.remove)
            undo.callback(self._rest)
            for name, parameter in self.parameters.items():
                parameter.requires_grad_(learning or name in self.single)
            yield

    def _rest(self) -> None:
        self.take_input = None
        for parameter in self.parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None

    def forward(
        self, run: Callable[[], "torch.Tensor"], count: int, mask: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Run a batch and return what `run` makes of it, one row an example.

        Args:
            run: runs the module.
            count: how many examples the batch has.
            mask: (example, position), true where a position is no padding; None where there is none.
        """
        self._count, self._mask = count, mask
        self._uses.clear()
        if count > 1 and self.single:
            raise ValueError("some parameters are told by passes of one example alone")
        owners = {name: _owner(self.module, name) for name in self.spread}
        self._copies = {name: _copies(self.parameters[name], count) for name in self.spread}
        try:
            for name, (owner, own) in owners.items():
                owner._parameters[own] = self._copies[name]
            return run()
        finally:
            for name, (owner, own) in owners.items():
                owner._parameters[own] = self.parameters[name]

    def backward(self, out: "torch.Tensor", cotangent: "torch.Tensor", take: Take) -> None:
        """Send a cotangent back through what `forward` returned; it may be sent back several times.

        Args:
            out: (example, …), of the last `forward`.
            cotangent: of the same shape; row i makes example i's gradients.
            take: is given a parameter's name and its gradients by example, as soon as they are known.

        Raises:
            NotApart: the examples of the batch cannot be told apart in some layer.
        """
        import torch

        self._take = take
        self.mixed.clear()
        torch.autograd.backward(out, cotangent, retain_graph=True)
        for name, calls in self._waiting.items():
            take(name, joined(calls))
        self._waiting.clear()
        for name, held in self._copies.items():
            if held.grad is not None:
                take(name, Plain(held.grad.reshape(self._count, *self.parameters[name].shape)))
                held.grad = None
        for name in self.single:
            if (found := self.parameters[name].grad) is not None:
                take(name, Plain(found.unsqueeze(0)))
                self.parameters[name].grad = None
        if self.mixed:
            raise NotApart(*sorted(self.mixed))

    def _hook(self, layer: Layer) -> Any:
        def seen(module: Any, inputs: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
            return self._seen(layer, (*inputs, *named.values())[0].detach(), out)

        return seen

    def _seen(self, layer: Layer, x: "torch.Tensor", out: "torch.Tensor") -> "torch.Tensor":
        """Note what goes into a layer, and wait for the gradients of what comes out."""
        import torch

        if layer.kind == "linear" and self.take_input is not None:
            self.take_input(layer, layer.rows(x, self._count), self._kept(layer, x))
        if not torch.is_grad_enabled():
            return out
        if layer.kind == "table" and len(x) == 1 < self._count:  # the same rows for all: positions
            x, out = x.expand(self._count, *x.shape[1:]), out.expand(self._count, *out.shape[1:])
        if not out.requires_grad:
            out = out + out.new_zeros((), requires_grad=True)
        self._uses.update(layer.parameters.values())
        out.register_hook(lambda g: self._came_back(layer, x, g))  # type: ignore[no-untyped-call]
        return out

    def _kept(self, layer: Layer, x: "torch.Tensor") -> "torch.Tensor | None":
        """Return which positions of what goes into a layer are no padding; None: all."""
        positions = x[0].numel() // x.shape[-1]
        if self._mask is None or bool(self._mask.all()) or positions == 1:
            return None
        if positions != self._mask.shape[1]:
            raise NotApart(layer.weight)
        return self._mask

    def _came_back(self, layer: Layer, x: "torch.Tensor", g: "torch.Tensor") -> None:
        if self._take is None or self.single.issuperset(layer.parameters.values()):
            return
        try:
            parts = layer.apart(x, g, self._count)
        except NotApart:
            self.mixed.update(layer.parameters.values())
            return
        for name, part in parts.items():
            if name in self.single:
                continue
            calls = self._waiting[name]
            calls.append(part)
            if len(calls) == self._uses[name]:
                self._take(name, joined(self._waiting.pop(name)))


def spreadable(parameter: "torch.Tensor") -> bool:
    """Tell whether a parameter can have a copy for each example: a vector, or its first axis is of length 1."""
    return parameter.dim() == 1 or (parameter.dim() > 1 and parameter.shape[0] == 1)


def _copies(parameter: "torch.Tensor", count: int) -> "torch.Tensor":
    """Return a copy an example, shaped so that it meets hidden states (example, position, width) as the one did."""
    held = parameter.detach()
    held = held.reshape(1, 1, -1) if held.dim() == 1 else held
    return held.expand(count, *held.shape[1:]).clone().requires_grad_()


def _owner(module: Any, name: str) -> tuple[Any, str]:
    where, _, own = name.rpartition(".")
    return module.get_submodule(where), own
