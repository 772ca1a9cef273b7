"""Layouts whose labels are names of folders: FMCA-Net's faces, and the sets of wholly generated images.

=================== ==============================================================================================
fmca                ``{train,valid[,test]}/{real,fake}/FILE``; a file's name may carry the FaceForensics++ method
forensynths         ``{train,val}/CLASS/{0_real,1_fake}`` (ProGAN), ``test/GENERATOR/[CLASS/]{0_real,1_fake}``
gangen              ``GAN/{0_real,1_fake}``
universalfakedetect ``GENERATOR/1_fake`` beside the photos in ``{laion,imagenet}/0_real``
diffusionforensics  ``[images/]{train,val,test}/PHOTOS/{real,GENERATOR}``, or ``GENERATOR/{0_real,1_fake}``
genimage            ``GENERATOR/[…/]{train,val}/{nature,ai}``
=================== ==============================================================================================

Sources: Wang et al., CVPR 2020; Tan et al., AAAI 2024; Ojha et al., CVPR 2023; Wang et al., ICCV 2023; Zhu et al.,
NeurIPS 2023. None of them says which images are relatives, so rows have no group.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from unmask.core.errors import DataError
from unmask.data.benchmarks.faceforensics import METHODS
from unmask.data.benchmarks.tree import About, Tree
from unmask.data.sources import SPLIT_NAMES, Place, place

NUMBERED = {"0_real": 0, "1_fake": 1}
_METHOD = re.compile(rf"(?<![A-Za-z0-9])({'|'.join((*METHODS, 'DeepFakeDetection'))})(?![A-Za-z0-9])", re.IGNORECASE)
_PROGAN = {"progan_train": "train", "progan_val": "val", "progan_test": "test"}
_TESTS = ("cnn_synth_test", "diffusion_datasets", "cnn")
"""Folders that only hold generators together."""
_OF_LAION = re.compile(r"dalle.*|glide.*|ldm.*", re.IGNORECASE)
_DIFFUSION = (
    "adm",
    "ddpm",
    "iddpm",
    "pndm",
    "ldm",
    "sdv1",
    "sdv1_new",
    "sdv1_new1",
    "sdv1_new2",
    "sdv2",
    "vqdiffusion",
)
DIFFUSION_FORENSICS = dict.fromkeys((*_DIFFUSION, "dalle2", "if", "midjourney"), 1) | {"real": 0}

Finish = Callable[[PurePosixPath, Place], About]
"""What a file's place and name mean in a layout."""


def _label_folders(tree: Tree, words: Mapping[str, int], finish: Finish) -> None:
    """A row for each image; one whose folders name no label, or two, is a problem that names it."""
    for file in tree.below():
        try:
            where = place(file.parent.parts, tree.root.name, words)
            tree.add(file, where.label, finish(file, where))
        except DataError as error:
            tree.problem(file, error.code, error.message)


def fmca(tree: Tree) -> None:
    """FMCA-Net's folders."""

    def finish(file: PurePosixPath, where: Place) -> About:
        found = {m.lower() for m in _METHOD.findall(file.stem)} if where.label else set()
        methods = [m for m in (*METHODS, "DeepFakeDetection") if m.lower() in found]
        return About(split=where.split, source=where.source, manipulation=methods[0] if len(methods) == 1 else "")

    _label_folders(tree, {"real": 0, "fake": 1}, finish)


def _of_gan(file: PurePosixPath, where: Place) -> About:
    """ForenSynths: in ``train`` and ``val`` folders are ProGAN's classes, in ``test`` generators."""
    above = file.parts[: next(i for i, f in enumerate(file.parts) if f.lower() in NUMBERED)]
    split = next((_PROGAN[f.lower()] for f in above if f.lower() in _PROGAN), where.split)
    ignored = (*SPLIT_NAMES, *_PROGAN, *_TESTS)
    rest = [f for f in above if f.lower() not in ignored]
    if split in ("train", "val") or any(f.lower() in _PROGAN for f in above):
        rest = ["progan", *(f for f in rest if f.lower() != "progan")]
    split = split or ("test" if any(f.lower() in _TESTS for f in above) else "")
    return About(split=split, source="/".join(rest), manipulation=rest[0] if where.label and rest else "")


def forensynths(tree: Tree) -> None:
    """ForenSynths (also called CNNDetection or CNNSpot)."""
    _label_folders(tree, NUMBERED, _of_gan)


def gangen(tree: Tree) -> None:
    """GANGen-Detection."""
    _label_folders(tree, NUMBERED, lambda _, w: About("", w.split, w.source, w.manipulation))


def universal_fake_detect(tree: Tree) -> None:
    """UniversalFakeDetect: diffusion models against the photos they are compared with, and ForenSynths beside them."""

    def finish(file: PurePosixPath, where: Place) -> About:
        about = _of_gan(file, where)
        if where.label and _OF_LAION.fullmatch(about.manipulation):
            return about._replace(source="laion")
        return about._replace(source="imagenet") if about.manipulation == "guided" else about

    _label_folders(tree, NUMBERED, finish)


def diffusion_forensics(tree: Tree) -> None:
    """DiffusionForensics as published (a folder per generator beside ``real``), or with numbered label folders."""
    numbered = any(f.lower() in NUMBERED for folder in tree.image_folders for f in folder.parts)

    def finish(file: PurePosixPath, where: Place) -> About:
        inner = [f for f in file.parent.parts if f.lower() not in ("images", *SPLIT_NAMES)]
        if numbered:
            return About("", where.split, where.source, where.manipulation)
        at = next(i for i, f in enumerate(inner) if f.lower() in DIFFUSION_FORENSICS)
        source = "/".join(inner[:at]) or tree.root.name
        return About(split=where.split, source=source, manipulation=inner[at] if where.label else "")

    _label_folders(tree, NUMBERED if numbered else DIFFUSION_FORENSICS, finish)


def genimage(tree: Tree) -> None:
    """GenImage."""
    words = {"nature": 0, "ai": 1}

    def finish(file: PurePosixPath, where: Place) -> About:
        at = next(i for i, f in enumerate(file.parts) if f.lower() in words)
        generator = next((f for f in file.parts[:at] if f.lower() not in SPLIT_NAMES), tree.root.name)
        return About(split=where.split, source=generator, manipulation=generator if where.label else "")

    _label_folders(tree, words, finish)
