"""Spectra of task vectors against whole decompositions."""

import numpy as np
import pytest
import torch

from taskvec.diagnose import spectra
from taskvec.diagnose.spectra import decomposed, spectra_of
from taskvec.ops import spectral


def low_rank(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    values = 2.0 ** -np.arange(min(rows, columns))
    u, v = (np.linalg.qr(rng.standard_normal((n, min(rows, columns))))[0] for n in (rows, columns))
    return (u * values) @ v.T


@pytest.mark.parametrize("role", ["matrix", "turned"])
def test_figures_are_those_of_whole_decompositions(rng: np.random.Generator, role: str) -> None:
    tasks = np.stack([low_rank(rng, 12, 7) for _ in range(3)])
    stored = tasks if role == "matrix" else tasks.transpose(0, 2, 1)
    energy = (tasks**2).sum((1, 2))
    found = spectra_of("w", torch.from_numpy(stored.astype("f4")), role, 3, energy)  # type: ignore[arg-type]
    whole = [np.linalg.svd(x, full_matrices=False) for x in tasks]
    us, ss, vs = [w[0][:, :3] for w in whole], [w[1][:3] for w in whole], [w[2][:3].T for w in whole]
    assert (found.name, found.shape) == ("w", (12, 7))
    np.testing.assert_allclose(found.values, ss, rtol=1e-5)
    np.testing.assert_allclose(found.energy, energy)
    assert np.all(found.sure < 1e-5)
    for i in range(3):
        for j in range(3):
            np.testing.assert_allclose(found.left[i, j], np.linalg.svd(us[i].T @ us[j])[1], atol=1e-4)
            np.testing.assert_allclose(found.right[i, j], np.linalg.svd(vs[i].T @ vs[j])[1], atol=1e-4)
    u, s, v = np.hstack(us), np.concatenate(ss), np.hstack(vs)
    interference = np.abs((u.T @ u - np.eye(9)) @ np.diag(s) @ (v.T @ v - np.eye(9))).sum()
    assert found.interference == pytest.approx(interference, rel=1e-4)
    assert found.alone == pytest.approx(s.sum(), rel=1e-5)


def test_tasks_in_spaces_of_their_own_do_not_interfere() -> None:
    tasks = torch.zeros(2, 8, 8)
    tasks[0, :4, :4] = torch.diag(torch.tensor([4.0, 3, 2, 1]))
    tasks[1, 4:, 4:] = torch.diag(torch.tensor([4.0, 3, 2, 1]))
    found = spectra_of("w", tasks, "matrix", 4, np.full(2, 30.0))
    assert found.interference == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.left[0, 1], 0, atol=1e-6)
    np.testing.assert_allclose(found.left[0, 0], 1, atol=1e-6)


def test_a_matrix_of_zeros_has_no_directions() -> None:
    tasks = torch.zeros(2, 6, 5)
    tasks[0, 0, 0] = 2
    found = spectra_of("w", tasks, "matrix", 9, np.array([4.0, 0]))
    assert found.values.tolist() == [[2, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert found.left[0, 1].tolist() == [0] * 5
    np.testing.assert_allclose(found.left[0, 0], [1, 0, 0, 0, 0], atol=1e-6)
    assert (found.interference, found.alone) == (0, 2)


class TestLargeMatrices:
    """Those that a range finder takes apart; here all are large."""

    @pytest.fixture(autouse=True)
    def _all_are_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spectra, "SMALL", 0)

    def test_the_error_holds(self, rng: np.random.Generator) -> None:
        x = rng.standard_normal((150, 120)) + 3 * np.outer(rng.standard_normal(150), rng.standard_normal(120))
        found, error = decomposed(torch.from_numpy(x.astype("f4")), 4)
        exact = np.linalg.svd(x, compute_uv=False)
        assert error <= spectra.LOOSE
        nearest = np.abs(found.s.numpy()[:, None] - exact[None]).min(axis=1)
        assert np.all(nearest <= error * exact[0] + 1e-5 * exact[0])

    def test_where_it_is_too_large_the_gram_matrix_decides(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spectral, "ROUNDS", 1)
        x = rng.standard_normal((100, 100))  # flat: the hardest
        loose, error = spectral.leading(torch.from_numpy(x), 4)
        exact = np.linalg.svd(x, compute_uv=False)[:4]
        assert not np.allclose(loose.s, exact, rtol=1e-3)
        found, error = decomposed(torch.from_numpy(x), 4)
        np.testing.assert_allclose(found.s, exact, rtol=1e-9)
        assert error < 1e-6
