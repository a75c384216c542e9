"""TSV-M's labelled atoms of any tasks at any rank, from singular vectors that are found once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from taskvec.merge.matrices import TAKEN_APART
from taskvec.ops.atoms import Atoms
from taskvec.ops.polar import polar
from taskvec.ops.spectral import Spectrum, svd

from .changes import Changes, Vector


@dataclass(frozen=True)
class Labelled:
    """The atoms of one tensor and every task's coordinates: its singular values at its own atoms, else 0.

    raw: the singular vectors before they were made orthogonal. labels: of which task each of them is.
    """

    basis: Atoms
    targets: list[torch.Tensor]
    raw: Atoms
    labels: list[int]


class Bases:
    """Singular vectors of every task's matrices, the largest first."""

    def __init__(self, changes: Changes) -> None:
        """Take the task vectors."""
        self.changes = changes
        self.matrices = [name for name, role in changes.roles.items() if role in TAKEN_APART["matrices"]]

    @cache  # noqa: B019 (one for each study, which lives as long as the program)
    def _spectra(self, name: str) -> list[Spectrum]:
        rows = self.changes.deltas[name]
        return [svd(x, min(x.shape) // len(rows)) for x in rows]

    def most(self, name: str) -> int:
        """Return the largest rank: all tasks' singular vectors together fill the shorter side."""
        rows = self.changes.deltas[name]
        return max(1, min(rows.shape[1:]) // len(rows))

    def labelled(self, name: str, tasks: Sequence[int], rank: int) -> Labelled:
        """Return the atoms of some tasks at a rank; at most at the largest that all tasks of the study leave room for.

        U = polar([U_1 … U_T]),   V = polar([V_1 … V_T])
        """
        parts = [self._spectra(name)[t] for t in tasks]
        keep = min(rank, self.most(name))
        raw = Atoms(*(torch.cat([part[i][:, :keep] for part in parts], 1) for i in (0, 2)))
        targets = []
        for place, part in enumerate(parts):
            own = torch.zeros(keep * len(parts))
            own[place * keep : (place + 1) * keep] = part.s[:keep]
            targets.append(own)
        labels = [place for place in range(len(parts)) for _ in range(keep)]
        return Labelled(Atoms(polar(raw.u), polar(raw.v)), targets, raw, labels)

    def tsv_m(self, tasks: Sequence[int], rank: int) -> Vector:
        """Return TSV-M's merge of some tasks: other tensors get the mean, as its authors give them."""
        out = {name: rows[list(tasks)].mean(0) for name, rows in self.changes.deltas.items()}
        for name in self.matrices:
            found = self.labelled(name, tasks, rank)
            out[name] = found.basis.expand(torch.stack(found.targets).sum(0))
        return out
