"""
A solution of the exercise of backprop.py: the derivative of the loss in every number of forward(), one line each.

Read from the top, which is the end of forward(). Three rules make all of it:
- each d<name> is what arrives from the line that used the name, times that line's own derivative;
- what was used twice gets both gradients, added;
- what forward copies over rows or columns, backward sums over them, and the other way round.

B = batch, T = letters of context, C = channels of an embedding, H = hidden units, V = letters
"""

import torch


def backward(v):
    """v: what forward() returns;  returns: {"d<name>": the gradient, in the shape of v.<name>}"""
    B = len(v.idx)

    # cross-entropy
    dlogprobs = torch.zeros_like(v.logprobs)                 # (B, V)
    dlogprobs[v.rows, v.targets] = -1 / B                    # loss = -mean of the ones that were right
    dprobs = dlogprobs / v.probs                             # logprobs = log(probs)
    dinverse = (dprobs * v.counts).sum(1, keepdim=True)      # (B, 1) probs = counts * inverse, copied to V columns
    dtotal = -dinverse / v.total**2                          # inverse = 1 / total
    dcounts = dprobs * v.inverse + dtotal                    # (B, V) counts went into probs, and into their total
    dshifted = dcounts * v.counts                            # counts = exp(shifted)
    dpeak = -dshifted.sum(1, keepdim=True)                   # (B, 1) is 0: a shift of all logits changes no loss
    dlogits = dshifted.clone()                               # (B, V) shifted = logits - peak
    dlogits[v.rows, v.logits.argmax(1)] += dpeak[:, 0]       # and peak was one of them

    # logits = h @ W2 + b2
    dh = dlogits @ v.W2.T                                    # (B, V) (V, H): (B, H)
    dW2 = v.h.T @ dlogits                                    # (H, B) (B, V): (H, V)
    db2 = dlogits.sum(0)                                     # (V,) b2 was added to each row

    # tanh
    dy = dh * (1 - v.h**2)                                   # (B, H)

    # BatchNorm
    dgamma = (dy * v.xhat).sum(0)                            # (H,) y = gamma * xhat + beta, for each row
    dbeta = dy.sum(0)                                        # (H,)
    dxhat = dy * v.gamma                                     # (B, H)
    drstd = (dxhat * v.centred).sum(0)                       # (H,) xhat = centred * rstd
    dvar = drstd * -0.5 * v.rstd**3                          # rstd = (var + EPS)**-0.5
    dsquare = dvar.expand_as(v.square) / (B - 1)             # (B, H) var: each row's square with the same weight
    dcentred = dxhat * v.rstd + dsquare * 2 * v.centred      # centred went into xhat, and into its own square
    dmean = -dcentred.sum(0)                                 # (H,) centred = z - mean
    dz = dcentred + dmean / B                                # (B, H) z went into centred, and into the mean

    # z = x @ W1
    dx = dz @ v.W1.T                                         # (B, H) (H, T*C): (B, T*C)
    dW1 = v.x.T @ dz                                         # (T*C, B) (B, H): (T*C, H)

    # embedding
    demb = dx.view(v.emb.shape)                              # (B, T, C)
    dE = torch.zeros_like(v.E)                               # (V, C)
    dE.index_add_(0, v.idx.flatten(), demb.flatten(0, 1))    # a letter that was read twice gets both

    return {name: x for name, x in locals().items() if name.startswith("d")}
