"""MesoNet: two small face-forgery detectors of 2018, for comparison."""

from unmask.detectors.meso.model import Meso, MesoConfig

__all__ = ["Meso", "MesoConfig"]
