"""A pickle, read as data: nothing that it asks for is imported, called or built.

Python's pickle is a program for a small machine. Here that machine knows constants, lists, tuples and dicts; where the
program names a global or calls one, it notes the wish. Whoever reads the result decides what a wish means.
"""

import pickletools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

CONSTANTS = (
    "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "FLOAT", "BINFLOAT",
)  # fmt: skip
VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
DICTS = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict")
BUILDERS = ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__")


class PickleError(ValueError):
    """The bytes are no pickle, or one of a kind that is not known."""


class Reader(Protocol):
    """What a pickle is read from: an open file, a BytesIO, a map."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes."""

    def readline(self) -> bytes:
        """Return the bytes up to the next line's beginning."""


@dataclass(frozen=True)
class Global:
    """The name of a function or class, which is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def is_named(what: Any, names: Collection[str]) -> bool:
    """Tell whether something is a global of one of these names."""
    return isinstance(what, Global) and str(what) in names


@dataclass(eq=False)
class Call:
    """A wish: this function or class, with these arguments, then this state and these items. It is not fulfilled."""

    what: Any
    args: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """What messages call it: the class, where a general builder is told to make one."""
        what, of = self.what, self.args[0] if isinstance(self.args, tuple) and self.args else None
        if is_named(what, BUILDERS) and isinstance(of, Global):
            what = of
        return str(what) if isinstance(what, Global) else "something without a name"


@dataclass(frozen=True, eq=False)
class Persistent:
    """Something kept outside of the pickle, by the words that tell where."""

    words: Any


class Parsed:
    """What a pickle says: its `data`, and in their order all `globals` and `persistent` words anywhere in it."""

    def __init__(self, file: Reader) -> None:
        """Read one pickle, up to its end and not further.

        Raises:
            PickleError: not a pickle, or a damaged one.
        """
        self.globals: list[Global] = []
        self.persistent: list[Any] = []
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        try:
            for code, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
                self._step(code.name, argument)
            self.data = self._stack.pop()
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise PickleError(str(exc) or type(exc).__name__) from exc

    def _step(self, code: str, argument: Any) -> None:
        if code in CONSTANTS:
            self._stack.append(argument)
        elif code in VALUES:
            self._stack.append(VALUES[code])
        elif step := getattr(self, f"_{code.lower()}", None):
            step() if argument is None else step(argument)
        elif code not in ("PROTO", "FRAME", "STOP"):
            raise PickleError(f"it uses {code}")

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _dup(self) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, at: int) -> None:
        self._memo[at] = self._stack[-1]

    def _get(self, at: int) -> None:
        self._stack.append(self._memo[at])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    def _memoize(self) -> None:
        self._put(len(self._memo))

    def _empty_list(self) -> None:
        self._stack.append([])

    _empty_set = _empty_list  # its items may be anything, and nobody asks whether they are in it

    def _empty_dict(self) -> None:
        self._stack.append({})

    def _empty_tuple(self) -> None:
        self._stack.append(())

    def _list(self) -> None:
        items = self._pop_mark()
        self._stack.append(items)

    def _tuple(self) -> None:
        items = tuple(self._pop_mark())
        self._stack.append(items)

    _frozenset = _tuple

    def _tuple1(self) -> None:
        self._last(1)

    def _tuple2(self) -> None:
        self._last(2)

    def _tuple3(self) -> None:
        self._last(3)

    def _last(self, count: int) -> None:
        if len(self._stack) < count:
            raise PickleError("its stack is empty")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _dict(self) -> None:
        items = self._pop_mark()
        self._stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def _append(self) -> None:
        self._extend([self._stack.pop()])

    def _appends(self) -> None:
        self._extend(self._pop_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], Call):
            self._stack[-1].extend(items)

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _setitems(self) -> None:
        self._update(self._pop_mark())

    def _update(self, items: list[Any]) -> None:
        onto = self._stack[-1]
        (onto.items if isinstance(onto, Call) else onto).update(zip(items[::2], items[1::2], strict=True))

    def _global(self, text: str) -> None:
        module, _, name = text.partition(" ")
        self._name(module, name)

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it names a global that is no name")
        self.globals.append(Global(module, name))
        self._stack.append(self.globals[-1])

    def _reduce(self) -> None:
        args, what = self._stack.pop(), self._stack.pop()
        if not is_named(what, DICTS):
            self._stack.append(Call(what, args))
        else:  # a dict may be told its items at once, or after its making
            pairs = args[0] if args and isinstance(args[0], list | tuple | dict) else ()
            self._stack.append(dict(pairs))

    _newobj = _reduce

    def _newobj_ex(self) -> None:
        self._stack.pop()
        self._reduce()

    def _inst(self, text: str) -> None:
        args = tuple(self._pop_mark())
        self._global(text)
        self._stack.append(args)
        self._reduce()

    def _obj(self) -> None:
        what, *args = self._pop_mark()
        self._stack += [what, tuple(args)]
        self._reduce()

    def _build(self) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], Call):
            self._stack[-1].state = state

    def _persid(self, words: Any) -> None:
        self.persistent.append(words)
        self._stack.append(Persistent(words))

    def _binpersid(self) -> None:
        self._persid(self._stack.pop())
