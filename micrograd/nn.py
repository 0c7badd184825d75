"""
A multilayer perceptron made of Values: a neuron is a weighted sum, a layer a list of neurons, a net a list of layers.

    from micrograd.nn import MLP
    model = MLP(2, [16, 16, 1])                             # two numbers in, two hidden layers, one number out
    score = model([0.5, -1.0])                              # a Value: score.backward() reaches all parameters

Names and behaviour are those of karpathy/micrograd, down to the order in which weights are drawn: the same
random.seed() gives the same net there and here. What is new: rng=, an explicit random.Random.
"""

import random

from micrograd.engine import Value


class Module:
    """Something with parameters."""

    def parameters(self):
        return []

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0


class Neuron(Module):
    """relu(w . x + b), or w . x + b where nonlin is False."""

    def __init__(self, nin, nonlin=True, rng=random):
        self.w = [Value(rng.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0)
        self.nonlin = nonlin

    def __call__(self, x):
        """x: nin numbers or Values;  returns: a Value"""
        if len(x) != len(self.w):
            raise ValueError(f"{len(x)} numbers for a neuron of {len(self.w)}")
        act = self.b
        for w, xi in zip(self.w, x):
            act = act + w * xi
        return act.relu() if self.nonlin else act

    def parameters(self):
        return self.w + [self.b]

    def __repr__(self):
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """nout neurons that look at the same x."""

    def __init__(self, nin, nout, nonlin=True, rng=random):
        self.neurons = [Neuron(nin, nonlin, rng) for _ in range(nout)]

    def __call__(self, x):
        """x: nin numbers or Values;  returns: nout Values, or the Value itself where nout is 1"""
        out = [neuron(x) for neuron in self.neurons]
        return out if len(out) > 1 else out[0]

    def parameters(self):
        return [p for neuron in self.neurons for p in neuron.parameters()]

    def __repr__(self):
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers one after the other; the last one is linear."""

    def __init__(self, nin, nouts, rng=random):
        """nin: how many numbers come in;  nouts: a list, the width of each layer"""
        sizes = [nin] + nouts
        last = len(nouts) - 1
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != last, rng=rng) for i in range(len(nouts))]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
            if not isinstance(x, list): x = [x]             # a layer of one neuron, also in the middle
        return x if len(x) > 1 else x[0]

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self):
        return f"MLP of [{', '.join(map(str, self.layers))}]"
