"""States and profiles as JSON values and back, to the last bit: arrays as little-endian bytes in base64, never pickled."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "f8": np.dtype("<f8"),
    "i8": np.dtype("<i8"),
    "i4": np.dtype("<i4"),
    "i2": np.dtype("<i2"),
}
DTYPES |= {"u1": np.dtype("u1"), "f4": np.dtype("<f4"), "b1": np.dtype("?"), "u4": np.dtype("<u4")}
_ARRAY = "~"


def packed(value: Any) -> Any:
    """JSON values of a state: dicts with text keys, lists, numbers, texts, None and arrays of the types in DTYPES.

    >>> packed({"n": 1, "a": np.array([1, 2])})
    {'n': 1, 'a': {'~': 'i8', 'shape': [2], 'data': 'AQAAAAAAAAACAAAAAAAAAA=='}}
    """
    if isinstance(value, np.ndarray):
        kind = next((name for name, dtype in DTYPES.items() if dtype == value.dtype), None)
        if kind is None:
            raise TypeError(f"an array of {value.dtype} cannot be kept; use one of {', '.join(DTYPES)}")
        data = base64.b64encode(np.ascontiguousarray(value, dtype=DTYPES[kind]).tobytes()).decode()
        return {_ARRAY: kind, "shape": list(value.shape), "data": data}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: packed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [packed(one) for one in value]
    return value


def unpacked(value: Any) -> Any:
    """What `packed` made, as it was: arrays writable, tuples as lists. Raises ValueError where it is damaged."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return _array(value)
        return {key: unpacked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    return value


def _array(value: dict[str, Any]) -> np.ndarray[Any, Any]:
    try:
        dtype, shape = DTYPES[value[_ARRAY]], [int(size) for size in value["shape"]]
        data = base64.b64decode(value["data"], validate=True)
        found: np.ndarray[Any, Any] = np.frombuffer(data, dtype=dtype).reshape(shape).copy()
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a kept array is damaged: {error}") from error
