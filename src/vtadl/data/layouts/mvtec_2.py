"""MVTec AD 2: ``test_public``, and the lighting in each name; its private test sets have no labels.

Source: L. Heckler-Kram et al., The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly Detection, 2025, as
its readme lays it out: ``train/good/000_regular.png``, ``validation/good``, ``test_public/good``, ``test_public/bad``,
``test_public/ground_truth/bad/000_regular_mask.png``, ``test_private``, ``test_private_mixed``.
"""

from dataclasses import replace
from pathlib import Path

from vtadl.data.layouts.category import Category, Sample
from vtadl.data.layouts.files import Found, images_in
from vtadl.data.layouts.mvtec import MASKS, split_folders

_PRIVATE = ("test_private", "test_private_mixed")


def has_mvtec_2(root: Path) -> Found:
    """Whether there is ``test_public`` with a class in it."""
    public = root / "test_public"
    if not public.is_dir():
        private = [name for name in _PRIVATE if (root / name).is_dir()]
        return f"MVTec AD 2 ({private[0]}/ is there, test_public/ is not)" if private else False
    if any((public / name).is_dir() for name in ("good", "bad")):
        return True
    return "MVTec AD 2 (test_public/ holds neither good/ nor bad/)"


def read_mvtec_2(root: Path) -> Category:
    """The public part; each image's lighting becomes its condition."""
    public = root / "test_public"
    private = [path for name in _PRIVATE for path in images_in(root / name)]
    category = split_folders(root, "mvtec-ad-2", tested=public, truth=public / MASKS)
    samples = tuple(replace(sample, condition=_lighting(sample)) for sample in category.samples)
    return replace(category, samples=samples, notes=_unlabelled(root, private), known=frozenset(private))


def _lighting(sample: Sample) -> str | None:
    """``overexposed`` of ``012_overexposed.png``, ``shift_2`` of ``012_shift_2.png``."""
    _, found, lighting = sample.path.stem.partition("_")
    return lighting if found else None


def _unlabelled(root: Path, private: list[Path]) -> tuple[str, ...]:
    if not private:
        return ()
    folders = " and ".join(name for name in _PRIVATE if (root / name).is_dir())
    return (f"{len(private)} images in {folders} have no labels and are not evaluated: vtadl predict scores them",)
