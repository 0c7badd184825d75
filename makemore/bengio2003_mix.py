"""
The opponents of Bengio's network and its mixture with them: Bengio et al. 2003, section 4.

A network and an n-gram are wrong in different places: what was seen often the n-gram remembers, what was never
seen the network guesses from words used alike. The weighted mean of the two probabilities is therefore better
than either, even at half the weight each. Used by bengio2003.py and bengio2003_table.py.

N = words of a text; a text is scored as (N,) natural logarithms of the probability of each word
"""

import numpy as np

from makemore.ngram import JelinekMercer, KneserNey, mixture

SCORED = ("valid", "test")
TITLES = {"trigram": "interpolated trigram", "kneser_ney": "Kneser-Ney", "net": "neural network",
          "net_trigram_half": "  and the trigram, half each", "net_kneser_ney_half": "  and Kneser-Ney, half each",
          "net_kneser_ney_learned": "  and Kneser-Ney, by context"}


def perplexity(logp):
    return float(np.exp(-logp.mean()))


def kneser_ney(ids, vocab, longest):
    """The KneserNey of ids["train"] whose order grows while ids["valid"], which tunes it, gains 0.001 nats."""
    model, best = KneserNey(1, vocab).fit(ids["train"]), np.inf
    while (nats := model.tune(ids["valid"], steps=(0.1, 0.02))) < best - 0.001 and model.order < longest:
        best = nats
        model.extend()
    return model


def opponents(ids, vocab, longest=8):
    """
    The paper's interpolated trigram, and the best Kneser-Ney up to order `longest`.

    ids: {split: (N,) ints};  returns: (trigram, kn, bins, order): twice {split: (N,) logarithms}, {split: (N,) ints}
    which say how rare the two words before each are, and the order of the Kneser-Ney
    """
    three = JelinekMercer(3, vocab).fit(ids["train"])
    three.tune(ids["valid"])
    many = kneser_ney(ids, vocab, longest)
    return ({split: three.logprob(ids[split]) for split in SCORED},
            {split: many.logprob(ids[split]) for split in SCORED},
            {split: three.estimates(ids[split])[1] for split in SCORED}, many.order)


def mix(a, b, weight=0.5):
    """(N,) logarithm of weight * exp(a) + (1 - weight) * exp(b);  weight: a number or (N,)"""
    with np.errstate(divide="ignore"):                           # a weight of 0 or 1 is allowed
        return np.logaddexp(a + np.log(weight), b + np.log1p(-weight))


def compare(net, trigram, kn, bins):
    """
    {model: {split: perplexity}} of the n-grams, the network, and its mixtures: with half the weight each, as in
    the paper's tables, and with a weight for each bin of contexts, learned on valid as the trigram's own are.
    """
    both = np.exp(np.stack([net["valid"], kn["valid"]], axis=1))                         # (N, 2)
    weight = mixture(both, bins["valid"], 1 + max(x.max() for x in bins.values()))[:, 0]
    rows = {"trigram": trigram, "kneser_ney": kn, "net": net,
            "net_trigram_half": {split: mix(net[split], trigram[split]) for split in SCORED},
            "net_kneser_ney_half": {split: mix(net[split], kn[split]) for split in SCORED},
            "net_kneser_ney_learned": {split: mix(net[split], kn[split], weight[bins[split]]) for split in SCORED}}
    return {name: {split: perplexity(row[split]) for split in SCORED} for name, row in rows.items()}
