"""
A solution of the exercise of gradcheck.py: the gradients of its little net, by hand, from the loss back to the inputs.

Each line is one use of the chain rule: the gradient of what this number went into, times the local derivative.
"""

import math


def gradients(p):
    """p: dict of x1, x2, w1, w2, b, v, c;  returns: d loss / d each of them, and of n, h, s, q"""
    h = math.tanh(p["w1"] * p["x1"] + p["w2"] * p["x2"] + p["b"])
    q = 1 / (1 + math.exp(-(p["v"] * h + p["c"])))

    dq = -1 / q                                             # loss = -log(q) + ...
    ds = dq * q * (1 - q)                                   # = q - 1: a sigmoid and its log cancel
    dv, dh, dc = ds * h, ds * p["v"], ds                    # s = v*h + c
    dn = dh * (1 - h*h)                                     # h = tanh(n)
    dw1 = dn * p["x1"] + 0.2 * p["w1"]                      # n = w1*x1 + ..., and loss = ... + 0.1 * w1**2
    return dict(q=dq, s=ds, v=dv, h=dh, c=dc, n=dn, b=dn,
                w1=dw1, w2=dn * p["x2"], x1=dn * p["w1"], x2=dn * p["w2"])
