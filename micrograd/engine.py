"""
Numbers that remember how they were made, so that backward() can tell how each of them mattered.

    from micrograd.engine import Value
    a, b = Value(2.0), Value(-3.0)
    c = (a*b + b.tanh()).exp()
    c.backward()
    print(a.grad, b.grad)                                   # dc/da, dc/db

Every operation below is one line that says four things: its value, what it was made from, its sign in a
drawing, and its local gradients, one for each thing it was made from. All of backpropagation is then
_backward(): hand each child your own gradient times the local one.

The names are those of karpathy/micrograd, whose tests and notebooks run on this file. What departs from
it: local gradients are numbers kept on the node instead of a closure made for every node; the
topological order is found without recursion; gradients inside the graph start at zero in each
backward(), those of the leaves add up until somebody zeroes them.

Left out on purpose: tensors, and gradients of gradients.
"""

import math


class Value:
    """A number, the numbers it was made from, and (after backward) its gradient."""

    __slots__ = "data", "grad", "_prev", "_op", "_local"    # no dict in each node: less memory, less time

    def __init__(self, data, _children=(), _op="", _local=()):
        self.data = data
        self.grad = 0
        self._prev = _children                              # what it was made from, in order, repeats included
        self._op = _op
        self._local = _local                                # d self / d child, one for each child

    # two numbers in: the value, the children, the sign, the local gradients

    def __add__(self, other):
        if not isinstance(other, Value): other = Value(other)
        return Value(self.data + other.data, (self, other), "+", (1.0, 1.0))

    def __sub__(self, other):
        if not isinstance(other, Value): other = Value(other)
        return Value(self.data - other.data, (self, other), "-", (1.0, -1.0))

    def __mul__(self, other):
        if not isinstance(other, Value): other = Value(other)
        return Value(self.data * other.data, (self, other), "*", (other.data, self.data))

    def __truediv__(self, other):
        if not isinstance(other, Value): other = Value(other)
        y = self.data / other.data
        return Value(y, (self, other), "/", (1 / other.data, -y / other.data))

    # one number in

    def __neg__(self):
        return Value(-self.data, (self,), "neg", (-1.0,))

    def __pow__(self, n):
        """x**n for a plain number n; for a Value as exponent write (x.log() * n).exp()."""
        if not isinstance(n, (int, float)):
            raise TypeError(f"the exponent must be an int or a float, not {type(n).__name__}")
        y = self.data**n
        if isinstance(y, complex):                          # Python would go on with complex numbers, silently
            raise ValueError(f"{self.data}**{n} is not a real number")
        return Value(y, (self,), f"**{n}", (n * self.data**(n - 1) if n else 0.0,))

    def exp(self):
        y = math.exp(self.data)
        return Value(y, (self,), "exp", (y,))

    def log(self):
        return Value(math.log(self.data), (self,), "log", (1 / self.data,))

    def tanh(self):
        y = math.tanh(self.data)
        return Value(y, (self,), "tanh", (1 - y*y,))

    def sigmoid(self):
        y = (1 + math.tanh(self.data / 2)) / 2              # = 1 / (1 + exp(-x)), which overflows at x < -709
        return Value(y, (self,), "sigmoid", (y * (1 - y),))

    def relu(self):
        return Value(max(self.data, 0), (self,), "ReLU", (1.0 if self.data > 0 else 0.0,))

    # a plain number on the left

    def __radd__(self, other): return Value(other) + self
    def __rsub__(self, other): return Value(other) - self
    def __rmul__(self, other): return Value(other) * self
    def __rtruediv__(self, other): return Value(other) / self

    # backpropagation

    def _backward(self):
        """The chain rule, for one node: each child gets what its parent got, times the local gradient."""
        grad = self.grad
        for child, local in zip(self._prev, self._local):
            child.grad += local * grad

    def backward(self):
        """Set the gradient of self in everything it was made from; in leaves, add it to what is there."""
        order = self._sorted()
        for v in order:
            v.grad = 0                                      # else a second backward() would send the first again
        self.grad = 1
        for v in reversed(order):
            v._backward()

    def _sorted(self):
        """
        All nodes below self that were made by an operation, each after its children. Depth first, with a
        list for a stack: a node met for the first time goes back on it under a None, and its children on
        top; when the None comes up, all of them are placed. Recursion would end at about 1,000 operations.
        """
        order, seen, stack = [], set(), [self]
        while stack:
            v = stack.pop()
            if v is None:
                order.append(stack.pop())
            elif v not in seen:
                seen.add(v)
                stack += v, None
                for child in v._prev:
                    if child._prev:                         # leaves hand nothing on
                        stack.append(child)
        return order

    def __repr__(self):
        return f"Value(data={self.data}, grad={self.grad})"
