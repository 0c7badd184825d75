"""
Learning without forgetting: on the new task's own texts, the model also keeps answering as it did before the task.
Li and Hoiem 2016, eq. 2 and 3, https://arxiv.org/abs/1606.09282

    loss = nats per token + strength * KL(previous || new) in nats per token, on the same batch

Eq. 2 is the cross-entropy with the previous model's answers, which differs from the divergence by a constant.
Departs from the paper in the temperature, which is 1 there where they take 2: in one vocabulary for all tasks the
divergence is then itself the loss, in nats, that text written by the previous model would add to the new one's. And
there is one head here, not one for each task: the old answers and the new targets contradict each other.

setting: strength
"""

import torch
import torch.nn.functional as F


def start(learner, batches):
    pass


def begin(learner):
    learner.kept["previous"] = learner.copy()
    learner.train()


def divergence(teacher, student):
    """KL(teacher || student) in nats per position, of logits (n, V)"""
    return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean")


def loss(learner, batch):
    x, y, doc, positions = batch
    scored = y >= 0
    student = learner.model(x, doc=doc, positions=positions)[0][scored]                           # (n, V)
    with torch.no_grad():
        teacher = learner.kept["previous"](x, doc=doc, positions=positions)[0][scored]
    return F.cross_entropy(student, y[scored]) + learner.setting["strength"] * divergence(teacher, student)


def end(learner):
    pass
