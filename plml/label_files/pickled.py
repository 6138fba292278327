"""Arrays out of a pickle of which nothing is run.

Whatever the pickle asks to be called is replaced by a stand-in of ours that only writes down what it is given; NumPy's
own functions, which trust a pickle with sizes and types, are not reached either. What is none of the few things that
NumPy's writer asks for is refused.
"""

import pickle
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_PLAIN = frozenset("biuf")  # kinds of numbers that are their bytes


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle asks for something that is no array."""


class _Type:
    """Stands for ``numpy.dtype`` of plain numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]  # (version, byte order, ...)

    @property
    def dtype(self) -> np.dtype[Any]:
        if not isinstance(self.code, str) or not isinstance(self.order, str):
            raise RefusedPickleError("its type of numbers is no text")
        if self.code == "O8":
            return np.dtype(object)
        dtype = np.dtype(self.code)
        if dtype.kind not in _PLAIN:
            raise RefusedPickleError(f"it holds {dtype}")
        return np.dtype(f"{self.order}{dtype.str[1:]}") if self.order in ("<", ">") else dtype


class _Array:
    """Stands for a ``numpy.ndarray`` that is to be filled."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Buffer:
    """Stands for the class ``numpy.ndarray`` itself, which a pickle names and must not call."""


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.state = (1, shape, dtype, order == "F", buffer)
    return array


# By old and new module names; NumPy's writer asks for nothing else.
_STAND_INS: dict[tuple[str, str], Any] = {("numpy", "ndarray"): _Buffer, ("numpy", "dtype"): _Type}
for _package in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_package}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_package}.numeric", "_frombuffer"] = _from_buffer


class _Noting(pickle.Unpickler):
    """Rebuilds numbers, text and containers; arrays become stand-ins, and anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise RefusedPickleError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def read_pickled(file: BinaryIO) -> Any:
    """Return what is pickled at ``file``: plain values; arrays of numbers as arrays, arrays of objects as lists.

    Raises:
        RefusedPickleError: it asks for anything else.
        Exception: any, if it is damaged.
    """
    return _resolved(_Noting(file).load())


def _resolved(value: Any) -> Any:
    if isinstance(value, _Array):
        return _array(value)
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    return value


def _array(noted: _Array) -> "NDArray[Any] | list[Any]":
    _, shape, kind, fortran, content = noted.state
    if not isinstance(kind, _Type):
        raise RefusedPickleError("an array without a type of numbers")
    dtype = kind.dtype
    if dtype.hasobject:
        return [_resolved(item) for item in content]
    numbers: NDArray[Any] = np.frombuffer(content, dtype=dtype)
    return numbers.reshape(shape, order="F" if fortran else "C").copy()
