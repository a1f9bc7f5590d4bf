"""Answers that are kept within a bound, and made once for all who ask for one at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by key; the least recently asked for go first.

    Args:
        most: sum of the sizes that are kept; of the newest value alone it may be more.
        size: of a value.
        largest: size of a value that is kept; None: any.
    """

    def __init__(self, most: int, size: Callable[[Value], int], largest: int | None = None) -> None:
        self.most, self.size, self.largest = most, size, largest
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self._generation = 0

    @property
    def taken(self) -> int:
        """Sum of the sizes of what is kept."""
        with self._lock:
            return sum(map(self.size, self._kept.values()))

    def __contains__(self, key: Hashable) -> bool:
        """Whether a value is kept."""
        with self._lock:
            return key in self._kept

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not kept; others who ask meanwhile wait for it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
                generation = self._generation
            try:
                value = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                if generation == self._generation and (
                    self.largest is None or self.size(value) <= self.largest
                ):
                    self._keep(key, value)
        return value

    def _keep(self, key: Hashable, value: Value) -> None:
        self._kept[key] = value
        taken = sum(map(self.size, self._kept.values()))
        while len(self._kept) > 1 and taken > self.most:
            taken -= self.size(self._kept.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything, what is being made just now as well."""
        with self._lock:
            self._kept.clear()
            self._generation += 1
