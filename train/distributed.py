"""
Several processes train one model: data parallelism with the all-reduce in sight.

    torchrun --nproc-per-node 2 train/train.py --data ... --tokenizer ...    # one machine, two ranks
    torchrun --nproc-per-node 2 train/distributed.py                         # what a step's all-reduce costs, four ways
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 train/train.py ...
                                 # two machines: the same line on both, and an --out that both can see; with
                                 # --max-restarts, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before it (see joined)

(python train/distributed.py, without torchrun, is one process and says that it has nobody to send to.)

Every rank holds all weights and reads the same batch, of which it takes every size-th row. Its gradient is
a part of the sum over all rows; all-reduce adds the parts up and gives every rank the same sum, to the bit,
so that equal weights stay equal with nothing else sent. Li et al. 2020: https://arxiv.org/abs/2006.15704

From that paper: gradients are sent in buckets, since a message costs time whatever its size, and while
backward still computes earlier layers. Where it averages, this adds: each part is already divided by the
step's targets (train/step.py). Weights that do not fit one device are in train/sharded.py.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import contextlib
import copy
import datetime
import time

import torch
import torch.distributed as dist


class World:
    """What a process knows of the others, and what it does with them. Alone, everything here is a no-op."""

    def __init__(self, rank=0, size=1):
        self.rank, self.size, self.last = rank, size, True
        self.buckets, self.waiting, self.flying = {}, set(), []   # parameter -> its bucket; all-reduces under way

    @property
    def first(self):
        return self.rank == 0

    def share(self, batch):
        """This rank's rows of a batch that all ranks have read."""
        return batch if self.size == 1 else [t[self.rank::self.size] for t in batch]

    def sum(self, x):
        """x added over all ranks, in place; the same bits on every rank."""
        if self.size > 1:
            dist.all_reduce(x)
        return x

    def barrier(self):
        if self.size > 1:
            dist.barrier()

    # ------------------------------------------------------------------------
    # gradients: one message a bucket, sent as soon as backward has filled it

    def replicate(self, model, megabytes=25):
        """Rank 0's weights everywhere; from now on backward sums gradients over ranks when `last` is set."""
        if self.size == 1:
            return
        for x in model.state_dict().values():
            dist.broadcast(x, src=0)
        bucket, room = [], 0
        for p in reversed(list(model.parameters())):         # backward comes to the last layer first
            if room < p.numel() * p.element_size():
                bucket, room = [], megabytes * 2**20
            room -= p.numel() * p.element_size()
            bucket.append(p)
            self.buckets[p] = bucket
            p.register_post_accumulate_grad_hook(self.ready)
        self.waiting = set(self.buckets)

    def ready(self, p):
        """Backward has added all of the last microbatch's gradient to p.grad."""
        if not self.last:
            return
        self.waiting.discard(p)
        bucket = self.buckets[p]
        if self.waiting.isdisjoint(bucket):
            flat = torch.cat([q.grad.flatten() for q in bucket])
            self.flying.append((dist.all_reduce(flat, async_op=True), flat, bucket))

    def finish(self):
        """Wait for the sums and put them where the gradients were."""
        if self.waiting:
            raise ValueError(f"{len(self.waiting)} parameters took no part in the loss: their buckets wait for them")
        for work, flat, bucket in self.flying:
            work.wait()
            for p, total in zip(bucket, flat.split([p.numel() for p in bucket])):
                p.grad = total.view_as(p)
        self.flying, self.waiting = [], set(self.buckets)


def local(x):
    """The part of a sharded tensor that this rank holds, or a tensor as it is."""
    return x.to_local() if hasattr(x, "to_local") else x


def whole(x):
    """A sharded tensor gathered, by all ranks together, or a tensor as it is."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x


@contextlib.contextmanager
def joined(where, patience=600):
    """
    The World that torchrun's environment describes, for as long as it lasts; World() without torchrun. Only the
    first rank speaks. A rank that is lost ends the others in one line, and torchrun, which started them, starts
    all again if it was told to (--max-restarts 3); each goes on from the last checkpoint.
    patience: seconds to wait for a rank that is there and silent
    """
    if "RANK" not in os.environ:
        yield World()
        return
    if where.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    patience = datetime.timedelta(seconds=patience)
    store, rank, size = next(dist.rendezvous("env://", timeout=patience))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":            # torchrun keeps its store when it restarts, with the
        store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)    # addresses of the dead in it
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=patience, store=store, rank=rank,
                            world_size=size)
    with open(os.devnull, "w") if rank else contextlib.nullcontext(sys.stdout) as out, contextlib.redirect_stdout(out):
        try:
            yield World(rank, size)
        except (dist.DistError, RuntimeError) as e:
            if not lost(e):
                raise
            sys.exit(f"rank {rank} of {size} has lost another ({' '.join(str(e).split())[:160]}). "
                     "The last checkpoint stands; the same command continues from it.")
    dist.barrier()                                           # nobody leaves while another still sends
    dist.destroy_process_group()


def lost(error):
    """Whether an error says that the connection to another rank has ended."""
    return any(word in str(error) for word in ("Connection", "closed by peer", "Timed out", "NCCL", "reset by"))


@torch.no_grad()
def one_by_one(model):
    """The whole idea in two lines: what World does in buckets, one parameter after another, after backward."""
    for p in model.parameters():
        dist.all_reduce(p.grad)


# ----------------------------------------------------------------------------
# what a step sends

def main():
    torch.manual_seed(0)
    model = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(16)])
    x, n = torch.randn(64, 256), sum(p.numel() for p in model.parameters())
    with joined(torch.device("cpu")) as world:
        if world.size == 1:
            sys.exit("one process has nobody to send to. Run: torchrun --nproc-per-node 2 train/distributed.py")
        print(f"{world.size} ranks, {n:,} parameters; all-reduce in a ring sends "
              f"{8e-6 * n * (world.size - 1) / world.size:.1f} MB a rank and step")
        wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(model))
        plain, replicas = copy.deepcopy(model), copy.deepcopy(model)
        world.replicate(replicas)
        ways = {"no all-reduce": (model, lambda: None), "one by one": (plain, lambda: one_by_one(plain)),
                "buckets": (replicas, world.finish), "torch's wrapper": (wrapped, lambda: None)}
        for name, (net, finish) in ways.items():
            seconds = []
            for _ in range(20):
                world.barrier()
                start = time.perf_counter()
                net(x).square().sum().backward()
                finish()
                seconds.append(time.perf_counter() - start)
                net.zero_grad()
            print(f"{name:16s} {1e3 * sorted(seconds)[10]:7.2f} ms a step")


if __name__ == "__main__":
    main()
